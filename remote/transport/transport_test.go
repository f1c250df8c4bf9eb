package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected returns both ends of a connection over a listener on address.
func connected(t *testing.T, address string, files ...*os.File) (client, server Conn) {
	t.Helper()
	l, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	Share(l, files...)
	accepted := make(chan Conn, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		c, err := FromNet(nc)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	dial := address
	if l.Addr().Network() == "tcp" {
		dial = l.Addr().String()
	}
	client, err = Dial(context.Background(), dial)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// What a server shares comes with a connection through shared memory, and with no other.
func TestShare(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("shared"); err != nil {
		t.Fatal(err)
	}
	a, b := connected(t, "shm:"+filepath.Join(t.TempDir(), "s"), f, f)
	files := FilesOf(a)
	if len(files) != 2 || len(FilesOf(b)) != 0 {
		t.Fatalf("the client has %d files and the server %d, want 2 and none", len(files), len(FilesOf(b)))
	}
	got := make([]byte, 6)
	if _, err := files[1].ReadAt(got, 0); err != nil || string(got) != "shared" {
		t.Errorf("%q, %v", got, err)
	}
	a.Close()
	if _, err := files[1].ReadAt(got, 0); err == nil {
		t.Error("the files are open when the connection is closed")
	}
	if a, _ := connected(t, "unix:"+filepath.Join(t.TempDir(), "s"), f); len(FilesOf(a)) != 0 {
		t.Error("a unix socket has files")
	}
}

// The CPU of the sender is known over TCP on one host.
func TestSenderCPU(t *testing.T) {
	a, b := connected(t, "127.0.0.1:0")
	for cpu := range min(runtime.NumCPU(), 4) {
		sent := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its affinity
			var set unix.CPUSet
			set.Set(cpu)
			err := unix.SchedSetaffinity(0, &set)
			v := NewVec(1)
			v.Add(make([]byte, 1))
			if _, e := a.Send(v); err == nil {
				err = e
			}
			sent <- err
		}()
		if err := <-sent; err != nil {
			t.Skip("can't choose the CPU: ", err)
		}
		v := NewVec(1)
		v.Add(make([]byte, 1))
		if _, err := b.Recv(v); err != nil {
			t.Fatal(err)
		}
		if at, ok := SenderCPU(b); !ok || at != cpu {
			t.Errorf("sent on CPU %d: %d, %v", cpu, at, ok)
		}
	}
	a, _ = connected(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	if cpu, ok := SenderCPU(a); ok {
		t.Errorf("over a unix socket: CPU %d", cpu)
	}
}

// eachTransport runs a test of the contract of Conn on each form.
func eachTransport(t *testing.T, test func(t *testing.T, a, b Conn)) {
	t.Run("tcp", func(t *testing.T) {
		a, b := connected(t, "127.0.0.1:0")
		test(t, a, b)
	})
	t.Run("unix", func(t *testing.T) {
		a, b := connected(t, "unix:"+filepath.Join(t.TempDir(), "s"))
		test(t, a, b)
	})
	t.Run("shm", func(t *testing.T) {
		a, b := connected(t, "shm:"+filepath.Join(t.TempDir(), "s"))
		test(t, a, b)
	})
	t.Run("pair", func(t *testing.T) {
		a, b, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close(); b.Close() })
		test(t, a, b)
	})
}

func TestScatterGather(t *testing.T) {
	eachTransport(t, func(t *testing.T, a, b Conn) {
		want := make([]byte, 3<<20)
		for i := range want {
			want[i] = byte(i * 31 >> 3)
		}
		go func() {
			v := NewVec(MaxVec)
			rest := want
			for n := uint32(1); len(rest) > 0; n = n*3 + 1 {
				k := min(int(n%70000)+1, len(rest))
				v.Add(bytes.Clone(rest[:k])) // separate pieces
				rest = rest[k:]
				if v.Room() == 0 || len(rest) == 0 {
					for v.Len() > 0 {
						if _, err := a.Send(v); err != nil {
							t.Error(err)
							return
						}
					}
					v.Reset()
				}
			}
		}()
		got := make([]byte, len(want))
		v := NewVec(64)
		at := 0
		for at < len(got) {
			v.Reset()
			n := 0
			for i := 0; v.Room() > 1 && at+n < len(got); i++ {
				k := min(1+i*977, len(got)-at-n)
				v.Add(got[at+n : at+n+k : at+n+k]) // no merging
				n += k
			}
			k, err := b.Recv(v)
			if err != nil || k <= 0 || v.Len() != n-k {
				t.Fatalf("received %d of %d, %d left: %v", k, n, v.Len(), err)
			}
			at += k
		}
		if !bytes.Equal(got, want) {
			t.Error("payload differs")
		}
	})
}

func TestTryNeverBlocks(t *testing.T) {
	eachTransport(t, func(t *testing.T, a, b Conn) {
		v := NewVec(1)
		v.Add(make([]byte, 10))
		if _, err := b.TryRecv(v); err != ErrWouldBlock {
			t.Errorf("TryRecv from an idle peer: %v", err)
		}
		big := make([]byte, 1<<20)
		for total := 0; ; {
			v.Reset()
			v.Add(big)
			n, err := a.TrySend(v)
			if err == ErrWouldBlock {
				break
			}
			if total += n; err != nil || total > 1<<30 {
				t.Fatalf("%d bytes sent to a peer that does not read: %v", total, err)
			}
		}
	})
}

func TestPatience(t *testing.T) {
	eachTransport(t, func(t *testing.T, a, b Conn) {
		if err := a.SetPatience(20*time.Millisecond, 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		v := NewVec(1)
		v.Add(make([]byte, 10))
		if _, err := a.Recv(v); err != ErrPatience {
			t.Errorf("Recv from an idle peer: %v", err)
		}
		big := make([]byte, 1<<20)
		for total := 0; ; {
			v.Reset()
			v.Add(big)
			n, err := a.Send(v)
			if err == ErrPatience {
				break
			}
			if total += n; err != nil || total > 1<<30 {
				t.Fatalf("%d bytes sent to a peer that does not read: %v", total, err)
			}
		}
	})
}

func TestShutdownWakes(t *testing.T) {
	eachTransport(t, func(t *testing.T, a, b Conn) {
		received, sent := make(chan error), make(chan error)
		go func() {
			v := NewVec(1)
			v.Add(make([]byte, 1))
			_, err := a.Recv(v)
			received <- err
		}()
		go func() {
			v := NewVec(1)
			for {
				v.Reset()
				v.Add(make([]byte, 1<<20))
				if _, err := a.Send(v); err != nil {
					sent <- err
					return
				}
			}
		}()
		time.Sleep(10 * time.Millisecond) // both block, most likely; it must hold anyway
		a.Shutdown()
		a.Shutdown()
		if err := <-received; err != io.EOF {
			t.Errorf("Recv: %v, want EOF", err)
		}
		if err := <-sent; err == nil || err == ErrPatience || err == ErrWouldBlock {
			t.Errorf("Send: %v", err)
		}
	})
}

func TestPeerGone(t *testing.T) {
	eachTransport(t, func(t *testing.T, a, b Conn) {
		b.Shutdown()
		v := NewVec(1)
		v.Add(make([]byte, 1))
		if _, err := a.Recv(v); err != io.EOF {
			t.Errorf("Recv: %v", err)
		}
	})
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, network, address string }{
		{"127.0.0.1:7070", "tcp", "127.0.0.1:7070"},
		{"tcp:[::1]:1", "tcp", "[::1]:1"},
		{":7070", "tcp", ":7070"},
		{"unix:/run/x.sock", "unix", "/run/x.sock"},
		{"shm:/run/x.shm", "shm", "/run/x.shm"},
		{"unix:", "", ""},
		{"shm:", "", ""},
		{"localhost", "", ""},
		{"", "", ""},
	} {
		n, a, err := ParseAddress(c.in)
		if n != c.network || a != c.address || (err != nil) != (c.network == "") {
			t.Errorf("%q: %q %q %v", c.in, n, a, err)
		}
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if l2, err := Listen("unix:" + path); err == nil {
		l2.Close()
		t.Error("took over the socket of a living listener")
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as if it had been killed
	l.Close()
	l, err = Listen("unix:" + path)
	if err != nil {
		t.Fatalf("in place of a dead listener: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen("unix:" + path); err == nil {
		l.Close()
		t.Error("took the place of a file")
	}
}

func TestVec(t *testing.T) {
	v := NewVec(4)
	mem := make([]byte, 100)
	v.Add(mem[0:10])
	v.Add(nil)
	v.Add(mem[10:20]) // continues
	v.Add(mem[30:40])
	if v.Len() != 30 || v.Room() != 2 {
		t.Errorf("length %d, room %d", v.Len(), v.Room())
	}
	v.Consume(5)
	if f := v.Front(); len(f) != 15 || &f[0] != &mem[5] {
		t.Errorf("front of %d bytes", len(f))
	}
	v.Consume(15)
	if f := v.Front(); len(f) != 10 || &f[0] != &mem[30] {
		t.Errorf("front of %d bytes", len(f))
	}
	v.Consume(10)
	if v.Front() != nil || v.Len() != 0 {
		t.Error("not empty at the end")
	}
	// Neighbours of different allocations must stay apart for the collector.
	v.Reset()
	v.Add(mem[0:10:10])
	v.Add(mem[10:20])
	if v.Room() != 2 {
		t.Error("merged beyond the capacity of the first")
	}
}

func TestDialFails(t *testing.T) {
	if _, err := Dial(context.Background(), "unix:"+filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(ctx, "127.0.0.1:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
