package main

import (
	"bytes"
	"context"
	"testing"
)

func TestTranscript(t *testing.T) {
	tr := newTranscript()
	var want []byte
	for i := range 300 { // around the ring, in pieces that do not divide it
		piece := bytes.Repeat([]byte{byte(i)}, 7001)
		tr.Write(piece)
		want = append(want, piece...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read := func(from int64, n int) []byte {
		var got []byte
		for len(got) < n {
			p := make([]byte, 1000)
			k, next := tr.read(ctx, from, p)
			if k == 0 {
				break
			}
			got, from = append(got, p[:k]...), next
		}
		return got
	}
	if got := read(0, transcriptSize); !bytes.Equal(got, want[len(want)-transcriptSize:]) {
		t.Errorf("%d bytes from the beginning are not the last that are kept", len(got))
	}
	if got := read(tr.at(5000), 5000); !bytes.Equal(got, want[len(want)-5000:]) {
		t.Error("the last 5000 bytes are others")
	}
	end, late := tr.at(0), make(chan []byte)
	go func() { late <- read(end, 3) }()
	tr.Write([]byte("new"))
	if got := <-late; string(got) != "new" {
		t.Errorf("a follower read %q", got)
	}
	go func() { late <- read(tr.at(0), 1) }()
	tr.close()
	if got := <-late; len(got) != 0 {
		t.Errorf("%q after the end", got)
	}
	cancel()
	if got := read(tr.at(3), 3); string(got) != "new" {
		t.Errorf("%q of what was there before ctx was done", got)
	}
}
