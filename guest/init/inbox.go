//go:build linux && amd64

package main

import (
	"sync"

	"splitvm/guest/agent"
)

// inbox is a process's input between the host, which must not wait, and the
// process.
type inbox struct {
	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte // guarded by mu
	taken   []byte // the last that take returned, to be used again; guarded by mu
	ended   bool   // guarded by mu
}

func newInbox() *inbox {
	b := &inbox{}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// put adds to the input; false if there is no room, or the input has ended: the
// host did not keep to the protocol.
func (b *inbox) put(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || len(b.waiting)+len(p) > agent.Window {
		return false
	}
	b.waiting = append(b.waiting, p...)
	b.changed.Signal()
	return true
}

// end is the end of the input.
func (b *inbox) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.changed.Signal()
}

// take waits for input; false at its end. It is valid until the next call.
func (b *inbox) take() ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) == 0 && !b.ended {
		b.changed.Wait()
	}
	p := b.waiting
	b.waiting, b.taken = b.taken[:0], p
	return p, len(p) > 0
}
