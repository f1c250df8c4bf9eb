package rack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote/network"
)

// What BenchmarkNetwork measures.
const (
	askSize    = 64       // of the messages that go forth and back
	bulkSize   = 60 << 10 // as guests send them that leave segmentation to the network
	bulkWindow = 16       // messages that are under way at most
	roundTrips = 20_000
	streamTime = 2 * time.Second
)

// BenchmarkNetwork measures frames from a port of a network to another one, where a
// device of a guest would be, on one host and on two, beside messages of the same sizes over a
// TCP connection of this host's loopback in the same run: round trips of small ones, and large ones
// in one direction, a few of which are under way at a time.
func BenchmarkNetwork(b *testing.B) {
	for _, hosts := range []int{1, 2} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			r := up(b, "--processors", fmt.Sprint(hosts))
			one, two := r.ports(hosts)
			left, right := loopback(b)
			for b.Loop() {
				floor, floorBytes := measure(b, left, right)
				ours, bytes := measure(b, one, two)
				for _, q := range []struct {
					name string
					of   float64
				}{{"p50", 0.5}, {"p99", 0.99}} {
					mine, theirs := quantile(ours, q.of), quantile(floor, q.of)
					b.ReportMetric(float64(mine.Nanoseconds())/1e3, q.name+"-us")
					b.ReportMetric(float64(mine)/float64(theirs), q.name+"/tcp")
				}
				b.ReportMetric(bytes/(1<<20), "MiB/s")
				b.ReportMetric(bytes/floorBytes, "rate/tcp")
			}
			r.thaw("a", "b")
			r.end("a", "b")
		})
	}
}

// end of a connection for messages.
type end interface {
	// send sends a message of at least size bytes.
	send(size int) error
	// receive receives one.
	receive() error
}

// measure sends messages from one end to another, which is driven too.
func measure(b *testing.B, near, far end) (trips []time.Duration, bytesPerSecond float64) {
	b.Helper()
	failed := make(chan error, 2)
	go func() {
		for range roundTrips {
			if err := far.receive(); err != nil {
				failed <- err
				return
			}
			if err := far.send(askSize); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	for range roundTrips {
		begin := time.Now()
		if err := near.send(askSize); err != nil {
			b.Fatal(err)
		}
		if err := near.receive(); err != nil {
			b.Fatal(err)
		}
		trips = append(trips, time.Since(begin))
	}
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	slices.Sort(trips)
	return trips, stream(b, near, far)
}

// stream sends large messages, every eighth of which is answered.
func stream(b *testing.B, near, far end) (bytesPerSecond float64) {
	b.Helper()
	const every = bulkWindow / 2
	stop := make(chan struct{})
	failed := make(chan error, 1)
	count := make(chan int, 1) // batches in all
	go func() {
		n := -1
		for i := 0; n < 0 || i < n; i++ {
			for range every {
				if err := far.receive(); err != nil {
					failed <- err
					return
				}
			}
			if err := far.send(askSize); err != nil {
				failed <- err
				return
			}
			select {
			case n = <-count:
			default:
			}
		}
		failed <- nil
	}()
	begin := time.Now()
	time.AfterFunc(streamTime, func() { close(stop) })
	batches, answers := 0, 0
	for done := false; !done; batches++ {
		select {
		case <-stop:
			done = true
			count <- batches + 1
		default:
		}
		for range every {
			if err := near.send(bulkSize); err != nil {
				b.Fatal(err)
			}
		}
		if batches > 0 {
			if err := near.receive(); err != nil {
				b.Fatal(err)
			}
			answers++
		}
	}
	for ; answers < batches; answers++ {
		if err := near.receive(); err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(begin)
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	return float64(batches*every*bulkSize) / took.Seconds()
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}

// port is an end of frames.
type port struct {
	cable *os.File
	small []byte // frames, ready to be sent
	large []byte
	buf   []byte
}

func (p *port) send(size int) error {
	f := p.small
	if size > askSize {
		f = p.large
	}
	_, err := p.cable.Write(f)
	return err
}

func (p *port) receive() error {
	p.cable.SetReadDeadline(time.Now().Add(patience))
	_, err := p.cable.Read(p.buf)
	return err
}

// ports are two of one network, on so many hosts, between which frames go already. Their
// vNodes don't run, so as not to take time.
func (r *rack) ports(hosts int) (one, two *port) {
	r.t.Helper()
	ca, pa := r.cable("a", "front")
	cb, pb := r.cable("b", "front")
	if apart := r.vnode("a").Processor != r.vnode("b").Processor; apart != (hosts == 2) {
		r.t.Fatal("the vNodes are not where they should be")
	}
	endOf := func(c *os.File, own, peer netip.Addr) *port {
		return &port{cable: c, small: frameOf(own, peer, askSize), large: frameOf(own, peer, bulkSize), buf: make([]byte, network.MaxFrame)}
	}
	one, two = endOf(ca, pa.Addr.Addr(), pb.Addr.Addr()), endOf(cb, pb.Addr.Addr(), pa.Addr.Addr())
	r.eventually("frames go from a to b", func() bool {
		one.send(askSize)
		cb.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := cb.Read(two.buf)
		return err == nil && bytes.Equal(two.buf[:n], one.small)
	})
	for { // those that were late
		cb.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := cb.Read(two.buf); err != nil {
			break
		}
	}
	r.freeze("a", "b")
	return one, two
}

// freeze and thaw stop VMMs for a while.
func (r *rack) freeze(names ...string) { r.signalVMMs(unix.SIGSTOP, names) }
func (r *rack) thaw(names ...string)   { r.signalVMMs(unix.SIGCONT, names) }

func (r *rack) signalVMMs(s unix.Signal, names []string) {
	r.t.Helper()
	for _, name := range names {
		r.eventually(name+" runs", func() bool { return r.vnode(name).State == "VNODE_STATE_RUNNING" })
		r.signal(r.vnode(name).PID, s)
	}
}

// frameOf is a datagram of size bytes, with all its headers.
func frameOf(from, to netip.Addr, size int) []byte {
	f := make([]byte, network.HeaderSize+size)
	e := f[network.HeaderSize:]
	dst, src := network.MACOf(to), network.MACOf(from)
	copy(e, dst[:])
	copy(e[6:], src[:])
	binary.BigEndian.PutUint16(e[12:], 0x0800)
	ip := e[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	a, b := from.As4(), to.As4()
	copy(ip[12:], a[:])
	copy(ip[16:], b[:])
	return f
}

// socket is an end of a TCP connection, on which each message has its length before it.
type socket struct {
	net.Conn
	out, in []byte
}

func (s *socket) send(size int) error {
	binary.LittleEndian.PutUint32(s.out, uint32(size))
	_, err := s.Write(s.out[:4+size])
	return err
}

func (s *socket) receive() error {
	s.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(s, s.in[:4+askSize]); err != nil {
		return err
	}
	_, err := io.ReadFull(s, s.in[:int(binary.LittleEndian.Uint32(s.in))-askSize])
	return err
}

// loopback is a TCP connection of this host with itself.
func loopback(b *testing.B) (near, far *socket) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(); d.Close() })
	endOf := func(c net.Conn) *socket {
		return &socket{c, make([]byte, 4+bulkSize), make([]byte, 4+bulkSize)}
	}
	return endOf(c), endOf(d)
}
