package transport

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostile returns a Conn and the memory that its peer can write.
func hostile(t *testing.T) (*shared, []byte) {
	t.Helper()
	fd, mem, err := makeShared()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	theirs, err := mapShared(fd)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "")
	defer f.Close()
	life, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	s := newShared(mem, life.(*net.UnixConn), "test", true)
	s.SetPatience(time.Millisecond, time.Millisecond)
	t.Cleanup(func() {
		s.Close()
		unix.Close(fds[1])
		unix.Munmap(theirs)
	})
	return s, theirs
}

// A peer may write anything into the shared memory, at any time: this side gets
// errors and bytes.
func TestHostileRing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		s, theirs := hostile(t)
		stop := make(chan struct{})
		scribbling := make(chan struct{})
		seed := rng.Uint64()
		go func() {
			defer close(scribbling)
			rng := rand.New(rand.NewPCG(seed, 0))
			for {
				select {
				case <-stop:
					return
				default:
				}
				off := []int{0, 64, 128, 192}[rng.IntN(4)] + rng.IntN(2)*ringBytes
				r := ringAt(theirs[off/ringBytes*ringBytes:])
				word := r.head
				switch off % ringBytes {
				case 64:
					word = r.tail
				case 128:
					word = r.consumerSleeps
				case 192:
					word = r.producerSleeps
				}
				word.Store([]uint32{0, 1, rng.Uint32(), rng.Uint32N(2 * ringSize), 0xffffffff}[rng.IntN(5)])
			}
		}()
		in, out := NewVec(2), NewVec(2)
		buf := make([]byte, 100_000)
		failed := 0
		for range 50 {
			in.Reset()
			in.Add(buf)
			if _, err := s.Recv(in); errors.Is(err, errRing) {
				failed++
			}
			out.Reset()
			out.Add(buf)
			if _, err := s.Send(out); errors.Is(err, errRing) {
				failed++
			}
		}
		close(stop)
		<-scribbling
		s.Close()
		if failed == 0 && round == 0 {
			t.Log("the first scribbler did nothing bad")
		}
	}
}

// One that claims more than fits is found out.
func TestImpossibleCounters(t *testing.T) {
	s, theirs := hostile(t)
	ringAt(theirs[ringBytes:]).head.Store(ringSize + 1)
	v := NewVec(1)
	v.Add(make([]byte, 10))
	if _, err := s.Recv(v); !errors.Is(err, errRing) {
		t.Errorf("head beyond the ring: %v", err)
	}
	ringAt(theirs).tail.Store(1)
	if _, err := s.Send(v); !errors.Is(err, errRing) {
		t.Errorf("tail ahead of the head: %v", err)
	}
}

// The memory can't be made smaller under the other side.
func TestSealed(t *testing.T) {
	fd, mem, err := makeShared()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	defer unix.Munmap(mem)
	if err := unix.Ftruncate(fd, 0); err != unix.EPERM {
		t.Errorf("truncate: %v", err)
	}
}

// What a client refuses to map.
func TestBadOffers(t *testing.T) {
	unsealed, _ := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	unix.Ftruncate(unsealed, sharedBytes)
	short, _ := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	unix.Ftruncate(short, 4096)
	unix.FcntlInt(uintptr(short), unix.F_ADD_SEALS, sharedSeals)
	defer unix.Close(unsealed)
	defer unix.Close(short)
	for name, send := range map[string]func(c *net.UnixConn){
		"nothing":     func(c *net.UnixConn) {},
		"no memory":   func(c *net.UnixConn) { c.Write([]byte{1}) },
		"not sealed":  func(c *net.UnixConn) { c.WriteMsgUnix([]byte{1}, unix.UnixRights(unsealed), nil) },
		"too short":   func(c *net.UnixConn) { c.WriteMsgUnix([]byte{1}, unix.UnixRights(short), nil) },
		"two of them": func(c *net.UnixConn) { c.WriteMsgUnix([]byte{1}, unix.UnixRights(short, short), nil) },
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			send(c.(*net.UnixConn))
			c.Close()
		}()
		if c, err := Dial(context.Background(), "shm:"+path); err == nil {
			c.Close()
			t.Errorf("%s: connected", name)
		}
		l.Close()
	}
	// A listener that does not answer.
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, "shm:"+path); err == nil {
		t.Error("connected to one that does not answer")
	}
}

const peerEnv = "SPLITVM_TRANSPORT_TEST_PEER"

// TestMain is the peer that is killed, in a process of its own.
func TestMain(m *testing.M) {
	if address := os.Getenv(peerEnv); address != "" {
		c, err := Dial(context.Background(), address)
		if err != nil {
			panic(err)
		}
		v := NewVec(1)
		v.Add([]byte("here"))
		c.Send(v)
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

// A peer that is killed is noticed at once by who waits for it; what it had sent
// is still there.
func TestPeerKilled(t *testing.T) {
	path := "shm:" + filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), peerEnv+"="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v, buf := NewVec(1), make([]byte, 100)
	v.Add(buf)
	if n, err := c.Recv(v); n != 4 || err != nil || string(buf[:4]) != "here" {
		t.Fatal(n, err)
	}
	time.AfterFunc(20*time.Millisecond, func() { cmd.Process.Kill(); cmd.Wait() })
	start := time.Now()
	if _, err := c.Recv(v); err != io.EOF {
		t.Errorf("Recv: %v, want EOF", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("noticed after %v", took)
	}
	v.Reset()
	v.Add(buf)
	if _, err := c.Send(v); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Send: %v", err)
	}
}
