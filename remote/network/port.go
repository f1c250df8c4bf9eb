package network

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// queueBytes is what waits for a guest that does not take its frames, at the
// most; further ones are dropped, as a full cable's are. It is more than a
// connection of package netstack has under way, so that one alone loses nothing.
const queueBytes = 4 << 20

// PortConfig says whose port it is.
type PortConfig struct {
	Addr netip.Addr   // the vNode's; its MAC address is MACOf this
	Log  *slog.Logger // nil: slog.Default()
}

// PortStats are counts since the port was made. Refused frames were the
// guest's, and malformed or not from its own address; dropped ones were for
// the guest, which did not take them in time.
type PortStats struct {
	Sent, Received, Refused, Dropped uint64
}

// Port joins a vNode to a switch.
type Port struct {
	sw   *Switch
	addr netip.Addr
	mac  MAC
	conn *net.UnixConn // SOCK_SEQPACKET
	raw  rawConn
	log  *slog.Logger

	accept atomic.Uint32 // Offload
	stats  struct{ sent, received, refused, dropped atomic.Uint64 }

	mu      sync.Mutex
	waiting [][]byte   // frames for the guest; guarded by mu
	bytes   int        // of waiting; guarded by mu
	more    *sync.Cond // waiting or closed has changed
	closed  bool       // guarded by mu
	ended   sync.WaitGroup
}

type rawConn interface {
	Write(func(fd uintptr) bool) error
}

var _ Station = (*Port)(nil)

// Attach makes a port of the switch of one end of a SOCK_SEQPACKET socket pair,
// which it owns from here on. The port ends with Close, or when the other end is closed.
func (s *Switch) Attach(cfg PortConfig, socket *os.File) (*Port, error) {
	defer socket.Close()
	if !cfg.Addr.Is4() {
		return nil, fmt.Errorf("attach port: %v is not an IPv4 address", cfg.Addr)
	}
	c, err := net.FileConn(socket)
	if err != nil {
		return nil, fmt.Errorf("attach port of %v: %w", cfg.Addr, err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("attach port of %v: not a Unix socket", cfg.Addr)
	}
	p := &Port{sw: s, addr: cfg.Addr, mac: MACOf(cfg.Addr), conn: conn, log: cfg.Log}
	p.more = sync.NewCond(&p.mu)
	if p.log == nil {
		p.log = slog.Default()
	}
	if p.raw, err = conn.SyscallConn(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("attach port of %v: %w", cfg.Addr, err)
	}
	if err := s.AddStation(p.mac, p); err != nil {
		conn.Close()
		return nil, err
	}
	p.ended.Go(p.read)
	p.ended.Go(p.drain)
	return p, nil
}

// MAC is the port's station address.
func (p *Port) MAC() MAC { return p.mac }

// Addr is the vNode's address.
func (p *Port) Addr() netip.Addr { return p.addr }

// Accept says what work the guest's driver does itself.
func (p *Port) Accept(o Offload) { p.accept.Store(uint32(o)) }

// Stats returns the counts so far.
func (p *Port) Stats() PortStats {
	s := &p.stats
	return PortStats{Sent: s.sent.Load(), Received: s.received.Load(), Refused: s.refused.Load(), Dropped: s.dropped.Load()}
}

// Close takes the port off the switch.
func (p *Port) Close() error {
	p.detach()
	p.ended.Wait()
	return nil
}

// Wait returns when the port has ended by itself: the vNode is gone.
func (p *Port) Wait() { p.ended.Wait() }

func (p *Port) detach() {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	if first {
		p.sw.RemoveStation(p.mac)
		p.conn.Close()
		p.more.Broadcast()
	}
}

// read carries the guest's frames into the switch until the socket ends.
func (p *Port) read() {
	defer p.detach()
	buf := make([]byte, MaxFrame)
	for {
		n, err := p.conn.Read(buf)
		if n == 0 || err != nil {
			return // the other end is closed, or ours
		}
		f := frame(buf[:n])
		if err := f.checkFrom(p.mac, p.addr); err != nil {
			if p.stats.refused.Add(1) == 1 {
				p.log.Debug("network: a frame of the guest's is refused", "addr", p.addr, "err", err)
			}
			continue
		}
		p.stats.sent.Add(1)
		p.sw.Send(f)
	}
}

// Deliver gives the guest a frame, in pieces if it takes it in no other way.
func (p *Port) Deliver(b []byte) {
	frame(b).finish(Offload(p.accept.Load()), p.give)
}

// give writes a frame to the socket, behind those that wait.
func (p *Port) give(f frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.stats.received.Add(1)
	if len(p.waiting) == 0 && p.tryWrite(f) {
		return
	}
	if p.bytes+len(f) > queueBytes {
		p.stats.dropped.Add(1)
		return
	}
	p.waiting = append(p.waiting, append([]byte(nil), f...))
	p.bytes += len(f)
	if len(p.waiting) == 1 {
		p.more.Signal()
	}
}

// tryWrite does not wait: false if there is no room.
func (p *Port) tryWrite(f []byte) (written bool) {
	err := p.raw.Write(func(fd uintptr) bool {
		_, err := unix.Write(int(fd), f)
		written = err != unix.EAGAIN && err != unix.EINTR && err != unix.ENOBUFS
		return true
	})
	return written || err != nil
}

// drain writes what waits as room comes.
func (p *Port) drain() {
	for {
		p.mu.Lock()
		for len(p.waiting) == 0 && !p.closed {
			p.more.Wait()
		}
		if p.closed {
			p.mu.Unlock()
			return
		}
		f := p.waiting[0]
		p.mu.Unlock()
		if _, err := p.conn.Write(f); err != nil {
			p.detach()
			return
		}
		p.mu.Lock()
		p.waiting, p.bytes = p.waiting[1:], p.bytes-len(f)
		p.mu.Unlock()
	}
}
