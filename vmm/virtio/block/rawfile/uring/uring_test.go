package uring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// completion is the T of these tests.
type completion func(n int, err error)

// newRing makes a ring and the eventfd that ends its waits.
func newRing(t testing.TB, entries int) (*Ring[completion], int) {
	t.Helper()
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(wake) })
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := New(entries, wake, func(of completion, n int, err error) { of(n, err) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skipf("%v: allow it with sysctl kernel.io_uring_disabled=0", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, wake
}

func (r *Ring[T]) finish(t *testing.T) {
	t.Helper()
	for r.InFlight() > 0 {
		if err := r.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStructures(t *testing.T) {
	if a, b, c := unsafe.Sizeof(params{}), unsafe.Sizeof(entry{}), unsafe.Sizeof(completed{}); a != 120 || b != 64 || c != 16 {
		t.Errorf("sizes are %d, %d and %d; linux/io_uring.h has 120, 64 and 16", a, b, c)
	}
}

// TestTransfers writes blocks of a file and reads them back, in batches of up
// to what the ring has room for.
func TestTransfers(t *testing.T) {
	r, _ := newRing(t, 8)
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	ended := 0
	check := func(n int, err error) {
		if ended++; n != 1000 || err != nil {
			t.Errorf("transfer %d: %d bytes, %v", ended, n, err)
		}
	}
	content := func(block uint64) []byte { return bytes.Repeat([]byte{byte(block), byte(block >> 8)}, 500) }
	const blocks = 400
	for block := range uint64(blocks) {
		p := content(block)
		for !r.Write(check, fd, [][]byte{p[:300], p[300:]}, block*1000) {
			if err := r.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.finish(t)
	got := make([][]byte, blocks)
	for block := range uint64(blocks) {
		p := make([]byte, 1000)
		got[block] = p
		for !r.Read(check, fd, [][]byte{p[:1], p[1:]}, block*1000) {
			if err := r.Collect(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.finish(t)
	for block, p := range got {
		if !bytes.Equal(p, content(uint64(block))) {
			t.Fatalf("block %d differs", block)
		}
	}
	if ended != 2*blocks {
		t.Errorf("%d transfers ended, of %d", ended, 2*blocks)
	}
}

func TestOutcomes(t *testing.T) {
	r, _ := newRing(t, 8)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 8)
	for what, c := range map[string]struct {
		do  func(of completion, fd int, memory [][]byte, off uint64) bool
		fd  int
		off uint64
		n   int
		err error
	}{
		"short read":              {r.Read, int(f.Fd()), 2, 3, nil},
		"read past the end":       {r.Read, int(f.Fd()), 100, 0, nil},
		"write to a reader":       {r.Write, int(f.Fd()), 0, 0, unix.EBADF},
		"no such file":            {r.Read, 1 << 20, 0, 0, unix.EBADF},
		"offset beyond reckoning": {r.Read, int(f.Fd()), 1 << 63, 0, unix.EINVAL},
	} {
		ended := false
		c.do(func(n int, err error) {
			ended = true
			if n != c.n || !errors.Is(err, c.err) {
				t.Errorf("%s: %d, %v; want %d, %v", what, n, err, c.n, c.err)
			}
		}, c.fd, [][]byte{p}, c.off)
		r.finish(t)
		if !ended {
			t.Errorf("%s: not ended", what)
		}
	}
}

// TestFull: what the ring has no room for is refused, and there is room again
// after a completion.
func TestFull(t *testing.T) {
	r, _ := newRing(t, 2)
	f, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 8)
	done := func(int, error) {}
	for i := range 3 {
		if ok := r.Read(done, int(f.Fd()), [][]byte{p}, 0); ok != (i < 2) {
			t.Fatalf("transfer %d: %t", i, ok)
		}
	}
	r.finish(t)
	if !r.Read(done, int(f.Fd()), [][]byte{p}, 0) {
		t.Fatal("no room after all has ended")
	}
}

// TestWake: a signal of the eventfd ends a wait each time, though nobody takes
// it, and a wait ends when the signal came before.
func TestWake(t *testing.T) {
	r, wake := newRing(t, 2)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	ended := false
	// A read that doesn't end until the test wants it.
	r.Read(func(n int, err error) { ended = n == 1 && err == nil }, pipe[0], [][]byte{p}, ^uint64(0))
	one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	for i := range 20 {
		if i%2 == 0 {
			time.AfterFunc(time.Millisecond, func() { unix.Write(wake, one) })
		} else {
			unix.Write(wake, one)
		}
		if err := r.Wait(); err != nil || ended {
			t.Fatal(err, ended)
		}
	}
	unix.Write(pipe[1], []byte{7})
	for !ended {
		if err := r.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(pipe[0])
	unix.Close(pipe[1])
}
