package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"splitvm/remote"
	"splitvm/remote/threads"
	"splitvm/remote/wire"
)

// peers are a pager's connections to memory monitors, by the index of the monitor
// in ept.Region.Owners. A monitor that was left by the last vRegion and is needed
// again has another index then: it may be another process.
type peers struct {
	dialer     Dialer
	session    remote.SessionID
	generation uint64 // of the pager

	mu   sync.Mutex
	list []dialed // guarded by mu
}

type dialed struct {
	Peer
	addr   string
	closed bool
}

// dial connects to one more monitor, and returns its index. One caller at a time.
func (p *peers) dial(ctx context.Context, addr string) (int, error) {
	p.mu.Lock()
	again := uint64(len(p.list)) // a monitor may be dialed, left, and dialed again
	p.mu.Unlock()
	peer, err := p.dialer.Dial(ctx, addr, p.session, p.generation<<32|again)
	if err != nil {
		return 0, fmt.Errorf("connect to memory monitor %s: %w", addr, err)
	}
	if err := threads.Block(int(wire.Classes)); err != nil {
		slog.Debug("pager's threads", "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, dialed{Peer: peer, addr: addr})
	return len(p.list) - 1, nil
}

func (p *peers) of(i int) Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list[i].Peer
}

// at finds the connection to a monitor.
func (p *peers) at(addr string) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, d := range p.list {
		if d.addr == addr && !d.closed {
			return i, true
		}
	}
	return 0, false
}

// hangUp closes the connection to a monitor that is not needed any more; what is
// under way there fails.
func (p *peers) hangUp(i int) error {
	p.mu.Lock()
	d := &p.list[i]
	closed := d.closed
	d.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	return d.Close()
}

// close closes all connections.
func (p *peers) close() error {
	p.mu.Lock()
	n := len(p.list)
	p.mu.Unlock()
	var errs []error
	for i := range n {
		errs = append(errs, p.hangUp(i))
	}
	return errors.Join(errs...)
}
