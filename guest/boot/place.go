package boot

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"

	"splitvm/guest/layout"
)

// Memory is guest RAM to place a plan in; vmm/memory's type is one.
type Memory interface {
	// WriteAt puts all of p at gpa, or fails.
	WriteAt(p []byte, gpa layout.GPA) error
}

// Filler is a Memory that reads a file into RAM without a detour. Fill puts the
// n bytes of f from off on at gpa, or fails. It is used for initrds; kernels
// have so many pages of zeroes that leaving them out gains more (a quarter, for
// Debian's vmlinux).
type Filler interface {
	Fill(gpa layout.GPA, f *os.File, off int64, n uint64) error
}

// Place writes the plan's segments into dst, which must be all zeroes: pages of
// zeroes are not written, so that they cost nothing (a kernel's image has 10 MiB
// of them) and are nobody's to fetch where memory is remote. It fails with
// ErrImage when a compressed kernel turns out to be damaged.
func (p *Plan) Place(dst Memory) error {
	defer p.release()
	for _, s := range p.placeOrder() {
		if err := s.place(dst); err != nil {
			return fmt.Errorf("place %s at %#x: %w", s.Name, s.GPA, err)
		}
	}
	return nil
}

// placeOrder is by offset in the source, so that a decompressor goes forward.
func (p *Plan) placeOrder() []*Segment {
	order := make([]*Segment, len(p.Segments))
	for i := range p.Segments {
		order[i] = &p.Segments[i]
	}
	slices.SortStableFunc(order, func(a, b *Segment) int { return cmp.Compare(a.Offset, b.Offset) })
	return order
}

// release lets go of decompressors.
func (p *Plan) release() {
	for _, s := range p.Segments {
		if f, ok := s.Source.(*inflated); ok {
			f.Close()
		}
	}
}

func (s *Segment) place(dst Memory) error {
	switch src := s.Source.(type) {
	case nil:
		return writeNonzero(dst, s.Data, s.GPA)
	case *inflated:
		return s.placeInflated(dst, src)
	case *os.File:
		if fill, ok := dst.(Filler); ok && s.dense {
			return fill.Fill(s.GPA, src, s.Offset, s.Length)
		}
	}
	return s.copyTo(dst)
}

// placeInflated writes what is decompressed from the decompressor's buffer.
func (s *Segment) placeInflated(dst Memory, src *inflated) error {
	src.mu.Lock()
	defer src.mu.Unlock()
	for done := uint64(0); done < s.Length; {
		view, err := src.view(s.Offset + int64(done))
		if err != nil {
			return err
		}
		view = view[:min(uint64(len(view)), s.Length-done)]
		if err := writeNonzero(dst, view, s.GPA+layout.GPA(done)); err != nil {
			return err
		}
		done += uint64(len(view))
	}
	return nil
}

// copyTo is for sources that are neither.
func (s *Segment) copyTo(dst Memory) error {
	buf := make([]byte, min(s.Length, 1<<20))
	for done := uint64(0); done < s.Length; {
		n := min(uint64(len(buf)), s.Length-done)
		if _, err := io.ReadFull(io.NewSectionReader(s.Source, s.Offset+int64(done), int64(n)), buf[:n]); err != nil {
			return err
		}
		if err := writeNonzero(dst, buf[:n], s.GPA+layout.GPA(done)); err != nil {
			return err
		}
		done += n
	}
	return nil
}
