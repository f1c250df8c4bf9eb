package vsock

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

const (
	testCID  = 77
	bufSize  = 4096 // of a guest's buffer for a packet, as Linux has them
	rxSupply = 64
)

// guest is a driver of a socket device, packet by packet. Sending and
// receiving may be two goroutines.
type guest struct {
	*virtiotest.Machine
	t      testing.TB
	rxBufs map[int]layout.GPA
	txBuf  layout.GPA
	supply int // buffers kept available
}

func newDevice(t testing.TB, cfg Config) *Device {
	t.Helper()
	cfg.CID = testCID
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func newGuest(t testing.TB, d *Device, o virtiotest.Options) *guest {
	t.Helper()
	m := virtiotest.Start(t, d, o, 0)
	g := &guest{Machine: m, t: t, rxBufs: map[int]layout.GPA{}, txBuf: m.Alloc(1 << 20), supply: rxSupply}
	for range rxSupply {
		g.stock(g.Alloc(bufSize))
	}
	return g
}

func (g *guest) stock(at layout.GPA) {
	g.t.Helper()
	id, ok := g.Queues[queueRx].Add(nil, []virtq.Span{{GPA: at, Len: 20}, {GPA: at + 20, Len: bufSize - 20}})
	if !ok {
		g.t.Fatal("the ring is full")
	}
	g.rxBufs[id] = at
	g.Queues[queueRx].Kick()
}

// send sends a packet from a port of the guest's, and waits until it is used.
func (g *guest) send(h header, body []byte) {
	g.t.Helper()
	g.post(h, body)
	g.Queues[queueTx].Wait()
}

func (g *guest) post(h header, body []byte) {
	g.t.Helper()
	h.srcCID, h.dstCID, h.length = testCID, HostCID, uint32(len(body))
	if h.kind == 0 {
		h.kind = typeStream
	}
	var p [headerSize]byte
	h.encode(&p)
	g.postRaw(append(p[:], body...))
}

func (g *guest) postRaw(p []byte) {
	g.t.Helper()
	if err := g.Memory.WriteAt(p, g.txBuf); err != nil {
		g.t.Fatal(err)
	}
	n := uint32(len(p))
	if _, ok := g.Queues[queueTx].Add([]virtq.Span{{GPA: g.txBuf, Len: n / 2}, {GPA: g.txBuf + layout.GPA(n/2), Len: n - n/2}}, nil); !ok {
		g.t.Fatal("the ring is full")
	}
	g.Queues[queueTx].Kick()
}

// receive takes the next packet from the host.
func (g *guest) receive() (header, []byte) {
	g.t.Helper()
	id, n := g.Queues[queueRx].Wait()
	at := g.rxBufs[id]
	delete(g.rxBufs, id)
	p := make([]byte, n)
	if err := g.Memory.ReadAt(p, at); err != nil {
		g.t.Fatal(err)
	}
	g.stock(at)
	h := decode((*[headerSize]byte)(p))
	if h.srcCID != HostCID || h.dstCID != testCID || int(h.length) != len(p)-headerSize {
		g.t.Fatalf("%v from CID %d to %d in %d bytes", h, h.srcCID, h.dstCID, len(p))
	}
	return h, p[headerSize:]
}

// expect takes the next packet that is not about credit, which must be of the
// given kind.
func (g *guest) expect(o op) (header, []byte) {
	g.t.Helper()
	for {
		h, p := g.receive()
		if h.op == o {
			return h, p
		}
		if h.op != opCreditUpdate && h.op != opCreditRequest {
			g.t.Fatalf("%v, want op %d", h, o)
		}
	}
}

// quiet checks that the host says nothing for a while.
func (g *guest) quiet() {
	g.t.Helper()
	time.Sleep(20 * time.Millisecond)
	if id, n, ok := g.Queues[queueRx].Used(); ok {
		p := make([]byte, n)
		g.Memory.ReadAt(p, g.rxBufs[id])
		g.t.Fatalf("unexpected %v", decode((*[headerSize]byte)(p)))
	}
}

// peer is the guest's end of a connection, with credit done simply.
type peer struct {
	*guest
	local, host Port
	bufAlloc    uint32
	got         uint32 // bytes received, all taken at once
	sent        uint32
	credit      header // the last that the host said
}

func (p *peer) header(o op) header {
	return header{srcPort: p.local, dstPort: p.host, op: o, bufAlloc: p.bufAlloc, fwdCnt: p.got}
}

// dialHost connects from the guest.
func (g *guest) dialHost(local, host Port) *peer {
	g.t.Helper()
	p := &peer{guest: g, local: local, host: host, bufAlloc: 64 << 10}
	g.send(p.header(opRequest), nil)
	p.credit, _ = g.expect(opResponse)
	if p.credit.srcPort != host || p.credit.dstPort != local || p.credit.fwdCnt != 0 {
		g.t.Fatalf("answer %+v", p.credit)
	}
	return p
}

// acceptHost takes a request of the host's for a port.
func (g *guest) acceptHost(local Port) *peer {
	g.t.Helper()
	h, _ := g.expect(opRequest)
	if h.dstPort != local || h.srcPort < firstHostPort {
		g.t.Fatalf("%v, want a request for port %d", h, local)
	}
	p := &peer{guest: g, local: local, host: h.srcPort, bufAlloc: 64 << 10, credit: h}
	g.send(p.header(opResponse), nil)
	return p
}

func (p *peer) say(body string) {
	p.t.Helper()
	p.send(p.header(opData), []byte(body))
	p.sent += uint32(len(body))
}

// hear takes n bytes from the host.
func (p *peer) hear(n int) string {
	p.t.Helper()
	var got []byte
	for len(got) < n {
		h, body := p.expect(opData)
		if h.srcPort != p.host || h.dstPort != p.local {
			p.t.Fatalf("%v belongs to another connection", h)
		}
		p.credit = h
		p.got += uint32(len(body))
		got = append(got, body...)
	}
	return string(got)
}

// shut says that no more will come, or with both flags that it is the end.
func (p *peer) shut(flags uint32) {
	p.t.Helper()
	h := p.header(opShutdown)
	h.flags = flags
	p.send(h, nil)
}

// hostListens makes a server on the Unix socket of a port.
func hostListens(t testing.TB, path string, port Port) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", fmt.Sprintf("%s_%d", path, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func acceptOne(t testing.TB, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(virtiotest.Patience))
	t.Cleanup(func() { c.Close() })
	return c
}

func socketPath(t testing.TB) string { return filepath.Join(t.TempDir(), "v") }

func dialUnix(t testing.TB, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(virtiotest.Patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// dialGuest is Dial while the guest accepts in the meantime.
func dialGuest(t testing.TB, d *Device, g *guest, port Port) (*Conn, *peer) {
	t.Helper()
	type result struct {
		c   *Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := d.Dial(context.Background(), port)
		done <- result{c, err}
	}()
	p := g.acceptHost(port)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { r.c.Close() })
	r.c.SetDeadline(time.Now().Add(virtiotest.Patience))
	return r.c, p
}

// smallBuffers makes a socket hold little, so that backing up starts soon.
func smallBuffers(t testing.TB, c *net.UnixConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
	})
}

// pattern is n bytes that differ everywhere.
func pattern(n int, seed byte) []byte {
	p := bytes.Repeat([]byte{seed}, n)
	for i := range p {
		p[i] += byte(i*7) ^ byte(i>>8)*13 ^ byte(i>>16)*31
	}
	return p
}
