package vsock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
)

func read(t testing.TB, c io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func ends(t testing.TB, c io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("%q (%v) where the end was expected", rest, err)
	}
}

func write(t testing.TB, c io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func TestGuestConnectsToUnixSocket(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	l := hostListens(t, path, 80)
	g := newGuest(t, d, virtiotest.Options{})
	p := g.dialHost(1234, 80)
	c := acceptOne(t, l)
	p.say("hello host")
	if got := read(t, c, 10); got != "hello host" {
		t.Errorf("host read %q", got)
	}
	write(t, c, "hello guest")
	if got := p.hear(11); got != "hello guest" {
		t.Errorf("guest read %q", got)
	}
	p.shut(shutBoth)
	g.expect(opReset)
	ends(t, c)
	p.say("into nothing")
	g.expect(opReset)
	p = g.dialHost(1234, 80) // the port is free again
	c = acceptOne(t, l)
	c.Close()
	if h, _ := g.expect(opShutdown); h.flags != shutBoth {
		t.Errorf("shut with flags %d", h.flags)
	}
	p.send(p.header(opReset), nil)
	g.quiet()
}

func TestNobodyListensOnHost(t *testing.T) {
	for name, path := range map[string]string{"no socket": socketPath(t), "no path": ""} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, newDevice(t, Config{Path: path}), virtiotest.Options{})
			g.send(header{srcPort: 5, dstPort: 80, op: opRequest}, nil)
			if h, _ := g.expect(opReset); h.srcPort != 80 || h.dstPort != 5 {
				t.Errorf("%v", h)
			}
		})
	}
}

func TestClientConnectsToGuest(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	early := dialUnix(t, path) // before there is a driver
	write(t, early, "CONNECT 52\nand more")
	g := newGuest(t, d, virtiotest.Options{})
	p := g.acceptHost(52)
	if got := p.hear(8); got != "and more" {
		t.Errorf("guest read %q", got)
	}
	p.say("welcome")
	want := fmt.Sprintf("OK %d\nwelcome", p.host)
	if got := read(t, early, len(want)); got != want {
		t.Errorf("client read %q, want %q", got, want)
	}
	slow := dialUnix(t, path)
	for _, s := range []string{"CONN", "ECT ", "4294967295", "\n"} {
		write(t, slow, s)
		time.Sleep(time.Millisecond)
	}
	h, _ := g.expect(opRequest)
	g.send(header{srcPort: h.dstPort, dstPort: h.srcPort, op: opReset}, nil)
	if h.dstPort != 1<<32-1 {
		t.Errorf("port %d", h.dstPort)
	}
	ends(t, slow)
}

func TestListen(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	hostListens(t, path, 7) // comes second
	l, err := d.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Listen(7); err == nil {
		t.Error("two listen on one port")
	}
	for range 2 { // it outlives a guest
		g := newGuest(t, d, virtiotest.Options{})
		p := g.dialHost(44, 7)
		c := acceptOne(t, l)
		if c.RemoteAddr() != (Addr{testCID, 44}) || c.LocalAddr() != (Addr{HostCID, 7}) || l.Addr().String() != "vsock://2:7" {
			t.Errorf("%v connected to %v", c.RemoteAddr(), c.LocalAddr())
		}
		p.say("hello")
		if got := read(t, c, 5); got != "hello" {
			t.Errorf("host read %q", got)
		}
		g.Reset()
		ends(t, c)
	}
	g := newGuest(t, d, virtiotest.Options{})
	for i := range Port(backlog) {
		g.dialHost(i, 7)
	}
	g.send(header{srcPort: 5000, dstPort: 7, op: opRequest}, nil)
	g.expect(opReset) // the backlog is full
	accepted := make(chan error, 1)
	l.Close()
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for range backlog {
		if h, _ := g.expect(opShutdown); h.flags != shutBoth {
			t.Errorf("flags %d", h.flags)
		}
	}
}

func TestDialFails(t *testing.T) {
	d := newDevice(t, Config{MaxConns: 2})
	if _, err := d.Dial(context.Background(), 1); !errors.Is(err, errNotReady) {
		t.Errorf("without a driver: %v", err)
	}
	g := newGuest(t, d, virtiotest.Options{})
	result := make(chan error, 1)
	dial := func(ctx context.Context) {
		go func() {
			_, err := d.Dial(ctx, 1)
			result <- err
		}()
	}
	dial(context.Background())
	h, _ := g.expect(opRequest)
	g.send(header{srcPort: h.dstPort, dstPort: h.srcPort, op: opReset}, nil)
	if err := <-result; !errors.Is(err, errRefused) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	dial(ctx)
	h, _ = g.expect(opRequest)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if r, _ := g.expect(opReset); r.srcPort != h.srcPort {
		t.Errorf("%v, want the request taken back", r)
	}
	dialGuest(t, d, g, 1)
	dialGuest(t, d, g, 1)
	dial(context.Background())
	if err := <-result; !errors.Is(err, errFull) {
		t.Errorf("with all connections in use: %v", err)
	}
	g.send(header{srcPort: 1, dstPort: 1, op: opRequest}, nil)
	g.expect(opReset)
	g.Reset()
	if _, err := d.Dial(context.Background(), 1); !errors.Is(err, errNotReady) {
		t.Errorf("after a reset: %v", err)
	}
}

func TestResetEndsDial(t *testing.T) {
	d := newDevice(t, Config{})
	for range 20 {
		g := newGuest(t, d, virtiotest.Options{})
		result := make(chan error, 1)
		go func() {
			_, err := d.Dial(context.Background(), 1)
			result <- err
		}()
		g.Reset()
		if err := <-result; !errors.Is(err, errNotReady) {
			t.Fatalf("%v", err)
		}
	}
}

func TestPathIsTakenOverOnlyFromTheDead(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	if _, err := New(Config{CID: 4, Path: path}); err == nil {
		t.Error("a path in use was taken")
	}
	l, err := net.Listen("unix", path+"x")
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	newDevice(t, Config{Path: path + "x"})
	if err := os.WriteFile(path+"y", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{CID: 4, Path: path + "y"}); err == nil {
		t.Error("a file was taken for a socket")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{
		{CID: 2}, {CID: 1<<32 - 1}, {CID: 3, MaxConns: -1}, {CID: 3, Buffer: 4095}, {CID: 3, Buffer: maxBuffer + 1}, {CID: 3, Path: strings.Repeat("p", maxPath+1)},
	} {
		if d, err := New(c); err == nil {
			d.Close()
			t.Errorf("New(%+v) was taken", c)
		}
	}
	d := newDevice(t, Config{})
	if err := d.Activate(virtio.Activation{Queues: make([]*virtio.Queue, 3)}); err == nil {
		t.Error("a driver without queues was taken")
	}
}
