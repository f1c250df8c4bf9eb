package handoff

import (
	"sync"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// gate holds writes back until the monitor has greeted both connections. Only
// then is it certain that every connection of an older incarnation has ended: a
// monitor has whichever connection comes first wait for them, and the other one
// may be greeted while an old write is still being executed. That write,
// of a pager that was killed, could take effect after one of ours and undo it.
type gate struct {
	mu   sync.Mutex
	open bool    // guarded by mu
	held []*call // guarded by mu
}

// pass tells whether a write may go; if not, it is kept until the gate opens.
func (g *gate) pass(c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
		g.held = append(g.held, c)
	}
	return g.open
}

// unlock opens the gate and returns what was held.
func (g *gate) unlock() []*call {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := g.held
	g.open, g.held = true, nil
	return held
}

// fail ends what is held with an error; the gate stays as it is.
func (g *gate) fail(err error) {
	g.mu.Lock()
	held := g.held
	g.held = nil
	g.mu.Unlock()
	for _, c := range held {
		c.Err = err
		writeDone(&c.Request)
	}
}

// greet opens the gate once both connections answer. While they don't, writes
// fail as they would without a gate.
func (p *peer) greet() {
	for p.ctx.Err() == nil {
		err := p.Ping(p.ctx, wire.Demand)
		if err == nil {
			err = p.Ping(p.ctx, wire.Bulk)
		}
		if err == nil || final(err) { // then what is submitted fails by itself
			p.pass()
			return
		}
		p.gate.fail(err)
		select {
		case <-p.ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// pass opens the gate and submits what was held.
func (p *peer) pass() {
	for _, c := range p.gate.unlock() {
		p.Submit(&c.Request)
	}
}

// final tells whether a client that failed so never works again.
func final(err error) bool {
	switch remote.KindOf(err) {
	case remote.Fenced, remote.Restarted, remote.Closed:
		return true
	}
	return false
}
