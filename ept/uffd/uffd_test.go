package uffd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/require"
)

const page = 4096

// area is a registered mapping of a memfd. The test touches it by system calls
// only: a Go statement that faults would stop the collector, and the handler
// is in this process.
type area struct {
	*File
	mem  []byte // registered
	addr uint64
	fd   int // the memfd
	pipe [2]int
}

func newArea(t *testing.T, pages int) *area {
	t.Helper()
	require.UFFD(t)
	a := &area{}
	var err error
	if a.fd, err = unix.MemfdCreate("uffd-test", unix.MFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(a.fd) })
	if err := unix.Ftruncate(a.fd, int64(pages*page)); err != nil {
		t.Fatal(err)
	}
	if a.mem, err = unix.Mmap(a.fd, 0, pages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	if err := unix.Pipe2(a.pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if a.File, err = Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close() // first: it wakes whoever still sleeps
		unix.Munmap(a.mem)
		unix.Close(a.pipe[0])
		unix.Close(a.pipe[1])
	})
	if err := a.Handshake(FeaturesPager); err != nil {
		t.Fatal(err)
	}
	a.addr = addressOf(a.mem)
	if err := a.Register(a.addr, uint64(len(a.mem)), RegisterMissing|RegisterMinor|RegisterWP); err != nil {
		t.Fatal(err)
	}
	return a
}

// read starts a kernel-mode read of the first byte of page p; the byte comes
// out of the channel when it was served.
func (a *area) read(t *testing.T, p int) <-chan byte {
	done := make(chan byte, 1)
	go func() {
		var b [1]byte
		if _, err := unix.Write(a.pipe[1], a.mem[p*page:p*page+1]); err != nil {
			t.Errorf("read page %d: %v", p, err)
		}
		unix.Read(a.pipe[0], b[:])
		done <- b[0]
	}()
	return done
}

// write starts a kernel-mode write of v to the first byte of page p.
func (a *area) write(t *testing.T, p int, v byte) <-chan byte {
	done := make(chan byte, 1)
	go func() {
		unix.Write(a.pipe[1], []byte{v})
		if _, err := unix.Read(a.pipe[0], a.mem[p*page:p*page+1]); err != nil {
			t.Errorf("write page %d: %v", p, err)
		}
		done <- v
	}()
	return done
}

func (a *area) event(t *testing.T) Event {
	t.Helper()
	r := NewReader(a.File)
	fds := []unix.PollFd{{Fd: int32(a.FD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 60_000); n != 1 || err != nil {
		t.Fatalf("no event within a minute (%d, %v)", n, err)
	}
	events, err := r.Read()
	if err != nil || len(events) != 1 {
		t.Fatalf("got events %v, error %v, want one event", events, err)
	}
	e := events[0]
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", e.Thread)); e.Thread == 0 || err != nil {
		t.Errorf("event of thread %d, want one of this process", e.Thread)
	}
	e.Thread = 0 // so that events can be compared
	return e
}

func served(t *testing.T, c <-chan byte, want byte) {
	t.Helper()
	select {
	case b := <-c:
		if b != want {
			t.Errorf("access got %d, want %d", b, want)
		}
	case <-time.After(time.Minute):
		t.Fatal("access was not woken within a minute")
	}
}

func (a *area) pageAddr(p int) uint64 { return a.addr + uint64(p)*page }

func filled(v byte) []byte { return bytes.Repeat([]byte{v}, page) }

func TestMissingPageIsCopied(t *testing.T) {
	a := newArea(t, 4)
	got := a.read(t, 2)
	if e, want := a.event(t), (Event{Addr: a.pageAddr(2)}); e != want {
		t.Errorf("event %+v, want %+v", e, want)
	}
	if n, err := a.Copy(a.pageAddr(2), filled(7), ModeWP); n != page || err != nil {
		t.Fatalf("Copy = %d, %v", n, err)
	}
	served(t, got, 7)

	wrote := a.write(t, 2, 8)
	if e, want := a.event(t), (Event{Addr: a.pageAddr(2), Write: true, WP: true}); e != want {
		t.Errorf("event %+v, want %+v", e, want)
	}
	if err := a.Unprotect(a.pageAddr(2), page, 0); err != nil {
		t.Fatal(err)
	}
	served(t, wrote, 8)
	served(t, a.read(t, 2), 8)
}

func TestMissingPageIsZero(t *testing.T) {
	a := newArea(t, 4)
	wrote := a.write(t, 1, 9)
	if e, want := a.event(t), (Event{Addr: a.pageAddr(1), Write: true}); e != want {
		t.Errorf("event %+v, want %+v", e, want)
	}
	if n, err := a.Zeropage(a.pageAddr(1), page, 0); n != page || err != nil {
		t.Fatalf("Zeropage = %d, %v", n, err)
	}
	served(t, wrote, 9)
	served(t, a.read(t, 1), 9)
}

func TestUnmappedPageIsContinued(t *testing.T) {
	a := newArea(t, 4)
	if _, err := unix.Pwrite(a.fd, filled(5), 3*page); err != nil {
		t.Fatal(err)
	}
	got := a.read(t, 3)
	if e, want := a.event(t), (Event{Addr: a.pageAddr(3), Minor: true}); e != want {
		t.Errorf("event %+v, want %+v", e, want)
	}
	if _, err := a.Copy(a.pageAddr(3), filled(6), 0); err != unix.EEXIST {
		t.Errorf("Copy over a page that is there: %v, want EEXIST", err)
	}
	if _, err := a.Continue(a.pageAddr(2), page, 0); err != unix.EFAULT {
		t.Errorf("Continue without a page: %v, want EFAULT", err)
	}
	if _, err := a.Continue(a.pageAddr(3), page, ModeWP); err != nil {
		t.Fatal(err)
	}
	served(t, got, 5)
	if _, err := a.Continue(a.pageAddr(3), page, 0); err != unix.EEXIST {
		t.Errorf("Continue of a mapped page: %v, want EEXIST", err)
	}
}

// TestProtectSurvivesPunch is what eviction relies on: Copy ignores the mark
// that a write-protected page leaves when it is punched out.
func TestProtectSurvivesPunch(t *testing.T) {
	a := newArea(t, 2)
	if _, err := a.Copy(a.pageAddr(0), filled(1), ModeWP); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(a.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, page); err != nil {
		t.Fatal(err)
	}
	wrote := a.write(t, 0, 3)
	if e, want := a.event(t), (Event{Addr: a.pageAddr(0), Write: true}); e.WP || e.Addr != want.Addr {
		t.Errorf("event %+v, want %+v", e, want)
	}
	if _, err := a.Copy(a.pageAddr(0), filled(2), 0); err != nil {
		t.Fatal(err)
	}
	served(t, wrote, 3)
}

func TestDontWakeThenWake(t *testing.T) {
	a := newArea(t, 2)
	got := a.read(t, 0)
	a.event(t)
	if _, err := a.Copy(a.pageAddr(0), filled(4), ModeDontWake); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
		t.Error("woken in spite of ModeDontWake")
	case <-time.After(20 * time.Millisecond):
	}
	if err := a.Wake(a.pageAddr(0), page); err != nil {
		t.Fatal(err)
	}
	served(t, got, 4)
}

// TestRunStopsAtFirstPresentPage: a run is done up to a page that is there.
func TestRunStopsAtFirstPresentPage(t *testing.T) {
	a := newArea(t, 8)
	if _, err := a.Copy(a.pageAddr(5), filled(1), 0); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Copy(a.pageAddr(2), make([]byte, 6*page), 0); n != 3*page || err != unix.EEXIST {
		t.Errorf("Copy = %d, %v, want %d and EEXIST", n, err, 3*page)
	}
	if n, err := a.Zeropage(a.pageAddr(6), 2*page, 0); n != 2*page || err != nil {
		t.Errorf("Zeropage = %d, %v", n, err)
	}
	if n, err := a.Continue(a.pageAddr(7), page, 0); n != 0 || err != unix.EEXIST {
		t.Errorf("Continue = %d, %v, want EEXIST", n, err)
	}
}

func TestWaitIsStopped(t *testing.T) {
	a := newArea(t, 1)
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stop)
	result := make(chan bool)
	go func() {
		stopped, err := a.Wait(stop)
		result <- stopped && err == nil
	}()
	unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if !<-result {
		t.Error("Wait did not say that it was stopped")
	}
}

// TestBlockingReadIsInterrupted: a signal ends a Read that waits, once the File
// doesn't block any more.
func TestBlockingReadIsInterrupted(t *testing.T) {
	a := newArea(t, 1)
	if err := a.SetBlocking(true); err != nil {
		t.Fatal(err)
	}
	thread := make(chan int)
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		events, err := NewReader(a.File).Read()
		if len(events) > 0 {
			err = fmt.Errorf("events %v", events)
		}
		result <- err
	}()
	id := <-thread
	for { // until it waits
		wchan, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", id))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(wchan), fmt.Sprintf("0 %#x ", a.FD())) { // read
			break
		}
		runtime.Gosched()
	}
	unix.Tgkill(unix.Getpid(), id, unix.SIGURG)
	select {
	case err := <-result:
		t.Fatalf("a signal alone ended the read: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := a.SetBlocking(false); err != nil {
		t.Fatal(err)
	}
	unix.Tgkill(unix.Getpid(), id, unix.SIGURG)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestMissingFeature(t *testing.T) {
	require.UFFD(t)
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Handshake(FeaturesPager | 1<<60)
	var lack *MissingError
	if !errors.As(err, &lack) || lack.Features != 1<<60 || !errors.Is(err, ErrNotSupported) {
		t.Errorf("Handshake error %v, want a MissingError of bit 60", err)
	}
	err = &MissingError{Features: FeatureMinorShmem, Kernel: "5.10.0"}
	for _, want := range []string{"5.10.0", "minor-shmem", "5.14", "newer kernel"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestFromFDRefusesOthers(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := FromFD(fd); err == nil || !strings.Contains(err.Error(), "eventfd") {
		t.Errorf("FromFD(eventfd) = %v, want an error that says what it is", err)
	}
}

func TestRegisterNeedsMapping(t *testing.T) {
	a := newArea(t, 1)
	if err := a.Register(0x1000, page, RegisterMissing); err == nil {
		t.Error("Register of nothing succeeded")
	}
}

func FuzzDecode(f *testing.F) {
	good := make([]byte, messageSize)
	good[0] = eventPagefault
	f.Add(good)
	f.Add(good[:31])
	f.Fuzz(func(t *testing.T, raw []byte) {
		events, err := decode(raw, nil)
		if err == nil && len(events)*messageSize != len(raw) {
			t.Errorf("%d events of %d bytes", len(events), len(raw))
		}
		for _, e := range events {
			if e.Addr%page != 0 {
				t.Errorf("address %#x is not a page's", e.Addr)
			}
		}
	})
}
