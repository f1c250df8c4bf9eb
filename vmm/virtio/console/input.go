package console

import (
	"fmt"
	"os"
	"sync"

	"splitvm/vmm/memory"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// inbox holds what the host writes to a port until the guest has it.
type inbox struct {
	writers sync.Mutex // one Write at a time; before mu

	mu      sync.Mutex
	changed sync.Cond
	waiting []byte // of the Write under way; guarded by mu, as all below
	moving  bool   // some of it is on the way into a buffer of the guest's
	open    bool   // by the guest
	ended   bool   // by the host: there will be no more Writes
	halted  bool   // between Reset and Activate
	closed  bool
}

// Write waits until the guest has all of p.
func (b *inbox) Write(p []byte) (int, error) {
	b.writers.Lock()
	defer b.writers.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, fmt.Errorf("console input: %w", os.ErrClosed)
	}
	b.waiting = p
	b.changed.Broadcast()
	for (len(b.waiting) > 0 || b.moving) && !b.closed {
		b.changed.Wait()
	}
	n := len(p) - len(b.waiting)
	b.waiting = nil
	if n < len(p) {
		return n, fmt.Errorf("console input: %w", os.ErrClosed)
	}
	return n, nil
}

// ready waits for something to give to the guest; false when halted.
func (b *inbox) ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for (len(b.waiting) == 0 || !b.open || b.closed) && !b.halted {
		b.changed.Wait()
	}
	return !b.halted
}

// end says that there will be no more, after the Write under way; true the
// first time.
func (b *inbox) end() bool {
	b.writers.Lock()
	defer b.writers.Unlock()
	first := !b.hasEnded()
	b.set(&b.ended, true)
	return first
}

func (b *inbox) hasEnded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// take moves up to len(p) bytes to p; moved says that the guest has them.
func (b *inbox) take(p []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := copy(p, b.waiting)
	b.waiting, b.moving = b.waiting[n:], true
	return n
}

func (b *inbox) moved() { b.set(&b.moving, false) }

// setOpen tells whether that is news.
func (b *inbox) setOpen(open bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	news := b.open != open
	b.open = open
	b.changed.Broadcast()
	return news
}

func (b *inbox) halt()   { b.set(&b.halted, true) }
func (b *inbox) resume() { b.set(&b.halted, false) }
func (b *inbox) close()  { b.set(&b.closed, true) }

func (b *inbox) set(flag *bool, v bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*flag = v
	b.changed.Broadcast()
}

// sender fills a queue that the driver stocks with buffers.
type sender struct {
	queue   *virtio.Queue
	stopped <-chan struct{}
	chain   virtq.Chain
}

// next waits for a buffer; false when stopped, which comes with a Kick.
func (s *sender) next() (bool, error) {
	for {
		select {
		case <-s.stopped:
			return false, nil
		default:
		}
		if got, err := s.queue.Pop(&s.chain); got || err != nil {
			return got, err
		}
		more, err := s.queue.EnableKicks()
		if err != nil {
			return false, err
		}
		if more {
			continue
		}
		if err := s.queue.Kick.Wait(); err != nil {
			return false, err
		}
		s.queue.DisableKicks()
	}
}

// supply moves an inbox's bytes into a receive queue's buffers.
type supply struct {
	sender
	mem *memory.Memory
	in  *inbox
	buf [chunk]byte
}

func (s *supply) run() error {
	for s.in.ready() {
		if got, err := s.next(); !got || err != nil {
			return err
		}
		if err := s.fill(); err != nil {
			return err
		}
		s.queue.Notify()
	}
	return nil
}

// fill puts what there is into the chain's writable part and gives it back.
func (s *supply) fill() error {
	defer s.in.moved()
	n := s.in.take(s.buf[:min(s.chain.WritableLen(), chunk)])
	p := s.buf[:n]
	for _, span := range s.chain.Writable {
		k := min(len(p), int(span.Len))
		if err := s.mem.WriteAt(p[:k], span.GPA); err != nil {
			return err
		}
		p = p[k:]
	}
	s.queue.Push(&s.chain, uint32(n))
	return nil
}
