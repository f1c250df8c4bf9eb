package rawfile

import (
	"sync"

	"splitvm/vmm/virtio/block"
)

// pool performs requests on up to max goroutines, which it starts as they are
// needed and keeps.
type pool struct {
	perform func(*block.Request)
	max     int
	running sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond
	queue   []*block.Request // guarded by mu; first in, first out from head
	head    int              // guarded by mu
	idle    int              // guarded by mu: goroutines waiting in work
	started int              // guarded by mu
	closed  bool             // guarded by mu
}

func newPool(max int, perform func(*block.Request)) *pool {
	p := &pool{perform: perform, max: max}
	p.work.L = &p.mu
	return p
}

// submit has r performed. It doesn't wait. The requests in the queue are no
// more than the guest's queues have entries.
func (p *pool) submit(r *block.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, r)
	if p.idle > 0 {
		p.idle--
		p.work.Signal()
		return
	}
	if p.started < p.max {
		p.started++
		p.running.Go(p.run)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.work.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

func (p *pool) run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for p.head == len(p.queue) {
			if p.closed {
				return
			}
			p.idle++
			p.work.Wait()
		}
		r := p.queue[p.head]
		p.queue[p.head] = nil
		if p.head++; p.head == len(p.queue) {
			p.queue, p.head = p.queue[:0], 0
		}
		p.mu.Unlock()
		p.perform(r)
		p.mu.Lock()
	}
}
