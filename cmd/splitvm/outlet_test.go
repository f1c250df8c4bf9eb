package main

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// A reader that takes its time gets all, in a hurry as well; one that takes
// nothing is given up then, and not before.
func TestOutletInAHurry(t *testing.T) {
	r, w := newPipe(t)
	o := newOutlet(w, nil)
	defer o.close()
	text := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // more than a pipe holds
	written := make(chan struct{})
	go func() {
		defer close(written)
		if n, err := o.Write(text); n != len(text) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		w.Close()
		o.close()
	}()
	o.hurry()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d of %d bytes came, %v", len(got), len(text), err)
	}
	<-written

	_, w = newPipe(t)
	o = newOutlet(w, nil)
	written = make(chan struct{})
	go func() {
		defer close(written)
		o.Write(text)
	}()
	select {
	case <-written:
		t.Fatal("the reader was given up without a hurry")
	case <-time.After(50 * time.Millisecond):
	}
	o.hurry()
	<-written
}

// The description that others share stays as it is, and the end of the reader
// is told once.
func TestOutletOfABrokenPipe(t *testing.T) {
	r, w := newPipe(t)
	fd := int(w.Fd()) // blocking from here on
	told := 0
	o := newOutlet(w, func() { told++ })
	defer o.close()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	r.Close()
	for range 3 {
		if n, err := o.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
