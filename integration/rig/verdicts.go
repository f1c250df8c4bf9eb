package rig

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// verdicts passes on the whole lines of a test binary with -test.v, without its
// verdict on itself, which is for whoever runs it to give; and notes which tests
// came to an end.
type verdicts struct {
	w      io.Writer
	part   []byte
	began  bool     // any test did
	ended  []string // top-level tests that passed, failed or were skipped
	failed []string // of ended
}

// ending is the line that ends a top-level test.
var ending = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(`)

func (v *verdicts) Write(p []byte) (int, error) {
	v.part = append(v.part, p...)
	for {
		line, rest, ok := bytes.Cut(v.part, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		v.part = rest
		if err := v.line(string(line)); err != nil {
			return 0, err
		}
	}
}

func (v *verdicts) line(s string) error {
	if s = strings.TrimRight(s, "\r"); s == "PASS" || s == "FAIL" {
		return nil
	}
	v.began = v.began || strings.HasPrefix(s, "=== RUN ")
	if end := ending.FindStringSubmatch(s); end != nil {
		v.ended = append(v.ended, end[2])
		if end[1] == "FAIL" {
			v.failed = append(v.failed, end[2])
		}
	}
	_, err := fmt.Fprintln(v.w, s)
	return err
}

// flush passes on a last line without an end.
func (v *verdicts) flush() error {
	if len(v.part) == 0 {
		return nil
	}
	line := string(v.part)
	v.part = nil
	return v.line(line)
}

// skip is the -test.skip that leaves out what has ended; "" where nothing has.
func (v *verdicts) skip() string {
	if len(v.ended) == 0 {
		return ""
	}
	return "^(" + strings.Join(slices.Compact(slices.Sorted(slices.Values(v.ended))), "|") + ")$"
}
