package main

import (
	"testing"
)

func TestEscapeFilter(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     []string
		out    string
		action escapeAction
	}{
		{"plain", []string{"ls\r\x03"}, "ls\r\x03", escapeNone},
		{"end", []string{"ab\x01xcd"}, "ab", escapeEnd},
		{"end over two reads", []string{"ab\x01", "x"}, "ab", escapeEnd},
		{"one Ctrl-A", []string{"\x01\x01"}, "\x01", escapeNone},
		{"unknown goes through", []string{"\x01q"}, "\x01q", escapeNone},
		{"help", []string{"a\x01hb"}, "ab", escapeHelp},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := escapeFilter{on: true, end: 'x'}
			var out []byte
			var action escapeAction
			for _, p := range c.in {
				var o []byte
				o, action = f.filter([]byte(p))
				out = append(out, o...)
			}
			if string(out) != c.out || action != c.action {
				t.Errorf("got %q, %v, want %q, %v", out, action, c.out, c.action)
			}
		})
	}
	f := escapeFilter{}
	if out, action := f.filter([]byte("\x01x")); string(out) != "\x01x" || action != escapeNone {
		t.Errorf("a pipe's bytes were filtered: %q, %v", out, action)
	}
}
