package boot

import (
	"bytes"

	"splitvm/guest/layout"
)

var zeroes [layout.PageSize]byte

// writeNonzero writes p at gpa, but for the guest pages that it would only fill
// with zeroes. Neighbours go in one write.
func writeNonzero(dst Memory, p []byte, gpa layout.GPA) error {
	for len(p) > 0 {
		n := run(p, gpa)
		if n > 0 {
			if err := dst.WriteAt(p[:n], gpa); err != nil {
				return err
			}
		}
		n += zeroRun(p[n:], gpa+layout.GPA(n))
		p, gpa = p[n:], gpa+layout.GPA(n)
	}
	return nil
}

// run is how much of p comes before the first page of zeroes.
func run(p []byte, gpa layout.GPA) int {
	n := 0
	for n < len(p) {
		page := pagePart(p[n:], gpa+layout.GPA(n))
		if isZero(page) {
			break
		}
		n += len(page)
	}
	return n
}

// zeroRun is how much of p comes before the first page that is not zeroes.
func zeroRun(p []byte, gpa layout.GPA) int {
	n := 0
	for n < len(p) {
		page := pagePart(p[n:], gpa+layout.GPA(n))
		if !isZero(page) {
			break
		}
		n += len(page)
	}
	return n
}

// pagePart is the part of p in the page of its first byte, which is at gpa.
func pagePart(p []byte, gpa layout.GPA) []byte {
	return p[:min(len(p), layout.PageSize-int(gpa%layout.PageSize))]
}

func isZero(p []byte) bool { return bytes.Equal(p, zeroes[:len(p)]) }
