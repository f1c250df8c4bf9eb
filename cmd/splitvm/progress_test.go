package main

import (
	"bytes"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Elsewhere than on a terminal each layer has one line, and a terminal's line
// changes in place.
func TestProgress(t *testing.T) {
	a, b := v1.Hash{Hex: strings.Repeat("a", 64)}, v1.Hash{Hex: strings.Repeat("b", 64)}
	show := func(terminal bool) string {
		var out bytes.Buffer
		p := newProgress(&out)
		p.terminal = terminal
		p.Step("looking")
		for _, done := range []int64{0, 512, 1024} {
			p.Layer(a, done, 1024)
		}
		p.Layer(a, 1024, 1024)
		p.Layer(b, 2048, 2048)
		p.Step("making")
		p.close()
		return out.String()
	}
	if got, want := show(false), "looking\nlayer aaaaaaaaaaaa: 1KiB\nlayer bbbbbbbbbbbb: 2KiB\nmaking\n"; got != want {
		t.Errorf("without a terminal:\n%s", got)
	}
	got := show(true)
	if !strings.HasPrefix(got, "looking\n\r\x1b[K") || !strings.HasSuffix(got, "\r\x1b[Klayers 2/2, 3KiB of 3KiB\nmaking\n") {
		t.Errorf("on a terminal: %q", got)
	}
}
