package main

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

func TestEscape(t *testing.T) {
	tests := []struct {
		typed, sent string
		ended       bool
	}{
		{"ls\r", "ls\r", false},
		{"\x03\x01x", "\x03\x01x", false},
		{"a\x1dqb", "a", true},
		{"a\x1d\x1db", "a\x1db", false},
		{"a\x1d\x1dq", "a\x1dq", false},
		{"a\x1dxb", "axb", false},
		{"\x1d", "", false},
		{"qq", "qq", false},
	}
	for _, test := range tests {
		ended := false
		e := &escape{in: iotest.OneByteReader(bytes.NewReader([]byte(test.typed))), end: func() { ended = true }}
		sent, err := io.ReadAll(e)
		if err != nil || string(sent) != test.sent || ended != test.ended {
			t.Errorf("%q: sent %q, ended %v, %v; want %q, %v", test.typed, sent, ended, err, test.sent, test.ended)
		}
	}
	e := &escape{in: bytes.NewReader([]byte("lost\x1dq")), end: func() {}}
	if sent, err := io.ReadAll(e); err != nil || len(sent) != 0 {
		t.Errorf("in one read: %q, %v", sent, err)
	}
}
