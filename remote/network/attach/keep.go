package attach

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"splitvm/remote/network"
)

// Pauses between attempts at joining.
const (
	firstPause = 20 * time.Millisecond
	longPause  = time.Second
)

// Place is a vNode's place on a network that outlives the process which has the
// network: when that is lost, the vNode joins the next one at the same path,
// under the same address. Its driver loses frames, and notices nothing else: both ends of
// the cable stay here, and the network has a duplicate.
type Place struct {
	Lease
	path string
	req  Request
	log  *slog.Logger
	port *os.File

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu     sync.Mutex
	plug   *Plug            // guarded by mu
	accept *network.Offload // as last told; nil: never; guarded by mu
}

// Join asks who listens at path for a place on a network, and keeps it until
// Close. It tries again for as long as wait. The port's end of the cable is the Place's, also
// after an error.
func Join(ctx context.Context, path string, req Request, port *os.File, wait time.Duration, log *slog.Logger) (*Place, error) {
	p := &Place{path: path, req: req, log: log, port: port}
	try, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	plug, err := dial(ctx, path, req, port)
	for pause := firstPause; err != nil && sleep(try, pause); pause = min(2*pause, longPause) {
		plug, err = dial(ctx, path, req, port)
	}
	if err != nil {
		port.Close()
		return nil, err
	}
	p.plug, p.Lease = plug, plug.Lease
	p.req.Addr = p.Lease.Addr.Addr()
	if p.Published != nil {
		p.req.Publish = p.Published // the same ports of the host's
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.ended.Go(p.keep)
	return p, nil
}

// Accept says what work the guest's driver does itself. A network that is lost just
// now is told when it is back.
func (p *Place) Accept(o network.Offload) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accept = &o
	if err := p.plug.Accept(o); err != nil {
		p.log.Debug("network", "err", err)
	}
	return nil
}

// Close leaves the network.
func (p *Place) Close() error {
	p.cancel()
	p.mu.Lock()
	p.plug.Close()
	p.mu.Unlock()
	p.ended.Wait()
	return p.port.Close()
}

// keep joins again whenever the network is lost.
func (p *Place) keep() {
	for {
		io.Copy(io.Discard, p.plug.conn) // nothing comes but the end
		p.plug.Close()
		if p.ctx.Err() != nil {
			return
		}
		p.log.Warn("network lost: joining again", "network", p.req.Network, "addr", p.Addr)
		if !p.rejoin() {
			return
		}
		p.log.Warn("network joined again", "network", p.req.Network, "addr", p.Addr)
	}
}

// rejoin tries for as long as it takes; false when the place is closed.
func (p *Place) rejoin() bool {
	last := ""
	for pause := firstPause; sleep(p.ctx, pause); pause = min(2*pause, longPause) {
		plug, err := dial(p.ctx, p.path, p.req, p.port)
		if err == nil && plug.Addr != p.Addr {
			err = fmt.Errorf("join network %s again: it has %v for this vNode, which has %v", p.req.Network, plug.Addr, p.Addr)
			plug.Close()
		}
		if err == nil {
			return p.resume(plug)
		}
		if text := err.Error(); text != last && p.ctx.Err() == nil {
			p.log.Warn("network", "err", err)
			last = text
		}
	}
	return false
}

// resume goes on with a new plug; false when the place is closed.
func (p *Place) resume(plug *Plug) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plug = plug
	if p.ctx.Err() != nil { // Close has seen the old one
		plug.Close()
		return false
	}
	if p.accept != nil {
		plug.Accept(*p.accept) // a failure is noticed by keep
	}
	return true
}

// sleep returns false when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
