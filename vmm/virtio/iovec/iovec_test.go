package iovec

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVector(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	var v Vector
	v.Add([]byte("one"), nil, []byte("two"), []byte{})
	v.Add([]byte("three"))
	if n, err := v.WriteTo(fds[1]); n != 11 || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	a, b := make([]byte, 4), make([]byte, 100)
	v.Reset()
	v.Add(a, b)
	n, err := v.ReadFrom(fds[0])
	if got := append(a, b[:7]...); n != 11 || err != nil || !bytes.Equal(got, []byte("onetwothree")) {
		t.Errorf("read %d, %v: %q", n, err, got)
	}
	if _, err := v.ReadFrom(fds[0]); err != unix.EAGAIN {
		t.Errorf("read from an empty pipe: %v", err)
	}
	v.Reset()
	if n, err := v.ReadFrom(fds[0]); n != 0 || err != nil {
		t.Errorf("an empty read: %d, %v", n, err)
	}
	for range 1025 {
		v.Add(a)
	}
	if _, err := v.WriteTo(fds[1]); err != unix.EINVAL {
		t.Errorf("1025 views: %v", err)
	}
	if n := testing.AllocsPerRun(100, func() { v.Reset(); v.Add(a, b); v.WriteTo(fds[1]) }); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}
