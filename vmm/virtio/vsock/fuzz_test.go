package vsock

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bytesBody is a payload in our own memory.
type bytesBody []byte

func (b bytesBody) writeTo(fd int, off, n uint32) (int, error) { return unix.Write(fd, b[off:off+n]) }

func (b bytesBody) read(p []byte, off uint32) error {
	if copy(p, b[off:]) != len(p) {
		return fmt.Errorf("a payload of %d bytes read to %d", len(b), int(off)+len(p))
	}
	return nil
}

// newTestMuxer has a muxer without a device running, and a clock that is the
// test's.
func newTestMuxer(t testing.TB, d *Device, clock *time.Time) *muxer {
	t.Helper()
	m, err := newMuxer(d)
	if err != nil {
		t.Fatal(err)
	}
	m.log = slog.New(slog.DiscardHandler)
	m.now = func() time.Time { return *clock }
	t.Cleanup(m.close)
	return m
}

// poll hands on what epoll has to say.
func (m *muxer) poll() {
	var events [32]unix.EpollEvent
	n, _ := retry(func() (int, error) { return unix.EpollWait(m.epoll, events[:], 0) })
	for _, e := range events[:n] {
		m.event(uint32(e.Fd), e.Events)
	}
}

func TestTimeLimits(t *testing.T) {
	clock := time.Unix(1000, 0)
	d := newDevice(t, Config{})
	m := newTestMuxer(t, d, &clock)
	none := func(int, uint32) (int, error) { return 0, unix.EAGAIN }
	attempt := func(s state) (*conn, *dial) {
		_, fd, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.add(fd, s)
		if err != nil {
			t.Fatal(err)
		}
		a := &dial{ended: make(chan dialed, 1)}
		c.owner = a
		return c, a
	}
	c, _ := attempt(greeting)
	m.limit(c, greetTime)
	clock = clock.Add(greetTime - 1)
	m.expire()
	if len(m.conns) != 1 {
		t.Fatal("a client has less time than it should")
	}
	clock = clock.Add(1)
	m.expire()
	if len(m.conns)+len(m.replies)+m.timed != 0 {
		t.Fatal("a client has all the time in the world")
	}
	c, a := attempt(greeting)
	m.request(c, 5)
	if h, ok := m.speak(100, none); !ok || h.op != opRequest || h.dstPort != 5 {
		t.Fatalf("%v, %v", h, ok)
	}
	clock = clock.Add(requestTime)
	m.expire()
	if end := <-a.ended; end.err != errTimeout {
		t.Errorf("a request without an answer: %v", end.err)
	}
	if h, ok := m.speak(100, none); !ok || h.op != opReset {
		t.Fatalf("%v, %v", h, ok)
	}
	c, _ = attempt(greeting)
	m.request(c, 5)
	m.speak(100, none)
	m.hear(header{srcCID: testCID, dstCID: HostCID, srcPort: 5, dstPort: c.key.host, kind: typeStream, op: opResponse, bufAlloc: 100}, nil)
	clock = clock.Add(time.Hour)
	m.expire()
	if m.byKey[c.key] != c || m.timed != 0 {
		t.Fatal("an open connection ended")
	}
	c.hostShut = shutBoth
	m.enqueue(c)
	if h, ok := m.speak(100, none); !ok || h.op != opShutdown || h.flags != shutBoth {
		t.Fatalf("%v, %v", h, ok)
	}
	clock = clock.Add(shutTime)
	m.expire()
	if h, ok := m.speak(100, none); !ok || h.op != opReset || len(m.conns) != 0 {
		t.Fatalf("%v, %v after a shutdown that nobody confirmed", h, ok)
	}
}

func TestHostPortsGoRound(t *testing.T) {
	clock := time.Unix(0, 0)
	m := newTestMuxer(t, newDevice(t, Config{}), &clock)
	m.nextPort = 1<<32 - 2
	for _, want := range []Port{1<<32 - 2, firstHostPort, firstHostPort + 1} {
		_, fd, _ := socketPair()
		c, err := m.add(fd, greeting)
		if err != nil {
			t.Fatal(err)
		}
		m.request(c, 1)
		if c.key.host != want {
			t.Errorf("port %d, want %d", c.key.host, want)
		}
		m.nextPort = map[Port]Port{1<<32 - 2: 1<<32 - 2, firstHostPort: firstHostPort}[want] // as if all were taken
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	var p, q [headerSize]byte
	for i := range p {
		p[i] = byte(i + 1)
	}
	decode(&p).encode(&q)
	if p != q {
		t.Errorf("%x became %x", p, q)
	}
	if h := decode(&p); h.srcCID != 0x0807060504030201 || h.dstPort != 0x18171615 || h.op != 0x201f || h.fwdCnt != 0x2c2b2a29 {
		t.Errorf("%+v", h)
	}
}

const (
	fuzzConns  = 6
	fuzzBuffer = 4096
)

// FuzzPacket plays a guest that sends anything, to a host that reads and
// writes now and then, and checks the bounds and the arithmetic of credit.
//
// Each step is 8 bytes: what to do, guest port, host port, flags, length (2),
// credit given (2).
func FuzzPacket(f *testing.F) {
	step := func(what, guest, host, flags byte, length, credit uint16) []byte {
		return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16([]byte{what, guest, host, flags}, length), credit)
	}
	join := func(steps ...[]byte) (all []byte) {
		for _, s := range steps {
			all = append(all, s...)
		}
		return all
	}
	request, data, end := step(1, 1, 1, 0, 0, 100), step(5, 1, 1, 0, 3000, 200), step(4, 1, 1, 3, 0, 0)
	f.Add(join(request, data, data, data, step(7, 1, 1, 0, 0, 50), end))
	f.Add(join(request, step(32, 0, 0, 0, 500, 0), step(33, 0, 0, 0, 64, 0), step(33, 0, 0, 0, 64, 0), step(6, 1, 1, 0, 0, 900), step(33, 0, 0, 0, 1, 0), step(3, 1, 1, 0, 0, 0)))
	f.Add(join(step(35, 0, 0, 0, 0, 0), step(33, 0, 0, 0, 9, 0), step(2, 0, 0x80, 0, 0, 99), step(5, 0, 0x80, 0, 100, 0), step(34, 0, 0, 0, 0, 0), step(33, 0, 0, 0, 9, 0)))
	f.Add(join(request, step(4, 1, 1, 1, 0, 0), step(4, 1, 1, 2, 0, 0), request, request))
	d := newDevice(f, Config{MaxConns: fuzzConns, Buffer: fuzzBuffer})
	l, err := d.Listen(1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		clock := time.Unix(0, 0)
		w := &fuzzWorld{t: t, m: newTestMuxer(t, d, &clock), clock: &clock, l: l}
		defer w.end()
		for ; len(steps) >= 8; steps = steps[8:] {
			w.step([8]byte(steps))
			w.check()
		}
	})
}

type fuzzWorld struct {
	t     *testing.T
	m     *muxer
	clock *time.Time
	l     *Listener
	conns []*Conn // the host's ends
}

func (w *fuzzWorld) step(s [8]byte) {
	m, n := w.m, binary.LittleEndian.Uint16(s[4:])
	switch s[0] {
	case 32: // the host writes
		for _, c := range w.conns {
			c.SetWriteDeadline(time.Now())
			c.Write(make([]byte, n%5000))
		}
	case 33: // the guest takes a packet
		room := uint32(n) + 1
		h, ok := m.speak(room, func(fd int, k uint32) (int, error) {
			if k == 0 || k > room {
				w.t.Fatalf("%d bytes asked for, with room for %d", k, room)
			}
			return retry(func() (int, error) { return unix.Read(fd, make([]byte, k)) })
		})
		if ok && (h.srcCID != HostCID || h.dstCID != testCID || h.length > room) {
			w.t.Fatalf("the guest gets %+v", h)
		}
	case 34: // a host's end closes
		if len(w.conns) > 0 {
			w.conns[0].Close()
			w.conns = w.conns[1:]
		}
	case 35: // the host connects
		if c, fd, err := socketPair(); err == nil {
			w.conns = append(w.conns, &Conn{UnixConn: c})
			if c, err := m.add(fd, greeting); err == nil {
				m.request(c, Port(s[1]))
			}
		}
	case 36: // the host reads
		for _, c := range w.conns {
			c.SetReadDeadline(time.Now())
			c.Read(make([]byte, n))
		}
	case 37:
		*w.clock = w.clock.Add(time.Duration(n) * time.Second)
		m.expire()
	default:
		w.hear(s, n)
	}
	m.poll()
	w.accept()
}

// hear is a packet from the guest. Host ports from 128 on are those that the
// host connects from.
func (w *fuzzWorld) hear(s [8]byte, n uint16) {
	h := header{srcCID: testCID, dstCID: HostCID, srcPort: Port(s[1]), dstPort: Port(s[2]), kind: typeStream, op: op(s[0]), flags: uint32(s[3]),
		length: uint32(n), bufAlloc: 1000, fwdCnt: uint32(binary.LittleEndian.Uint16(s[6:]))}
	if s[2] >= 128 {
		h.dstPort = firstHostPort + Port(s[2]-128)
	}
	if err := w.m.hear(h, make(bytesBody, n)); err != nil {
		w.t.Fatalf("%v: %v", h, err)
	}
}

func (w *fuzzWorld) accept() {
	for {
		select {
		case c := <-w.l.conns:
			w.conns = append(w.conns, c)
		default:
			return
		}
	}
}

func (w *fuzzWorld) check() {
	m := w.m
	timed, queued := 0, 0
	for id, c := range m.conns {
		if c.received-c.forward != uint32(len(c.pending)) || len(c.pending) > fuzzBuffer || c.id != id {
			w.t.Fatalf("%d bytes pending: received %d, forwarded %d", len(c.pending), c.received, c.forward)
		}
		if !c.until.IsZero() {
			timed++
		}
		if c.queued {
			queued++
		}
		if known := m.byKey[c.key] == c; known != (c.state == open || c.state == requesting) {
			w.t.Fatalf("connection %d in state %d, known by its ports: %v", id, c.state, known)
		}
	}
	if len(m.conns) > fuzzConns || len(m.byKey) > len(m.conns) || timed != m.timed || queued != len(m.queue) {
		w.t.Fatalf("%d connections, %d by ports, %d of %d timed, %d of %d queued", len(m.conns), len(m.byKey), m.timed, timed, len(m.queue), queued)
	}
	if len(m.replies) > maxReplies { // the device would stop to listen
		m.replies = m.replies[:0]
	}
}

func (w *fuzzWorld) end() {
	for _, c := range w.conns {
		c.Close()
	}
	w.m.close()
	w.m.conns, w.m.epoll = nil, -1
}
