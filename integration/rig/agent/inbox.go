package agent

import (
	"fmt"
	"io"
	"sync"

	"splitvm/integration/rig/link"
)

// An inbox is a session's input on its way from the link to the command: put
// never blocks (the host keeps to the link's window), Read does.
type inbox struct {
	taken func(n int) error // called for what was read
	mu    sync.Mutex
	more  sync.Cond
	data  []byte // guarded by mu
	ended bool   // guarded by mu; no more will be put
	gone  bool   // guarded by mu; nobody will read
}

func newInbox(taken func(int) error) *inbox {
	b := &inbox{taken: taken}
	b.more.L = &b.mu
	return b
}

// put adds input; an empty p is its end. A host that sends more than the link's
// window is out of step.
func (b *inbox) put(p []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.data)+len(p) > link.Window {
		return fmt.Errorf("%w: more than %d bytes of input ahead", link.ErrStep, link.Window)
	}
	b.ended = b.ended || len(p) == 0
	if !b.gone {
		b.data = append(b.data, p...)
	}
	b.more.Broadcast()
	return nil
}

// Read returns input, or io.EOF at its end.
func (b *inbox) Read(p []byte) (int, error) {
	b.mu.Lock()
	for len(b.data) == 0 && !b.ended && !b.gone {
		b.more.Wait()
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	end := b.gone || (n == 0 && len(p) > 0)
	b.mu.Unlock()
	if end {
		return 0, io.EOF
	}
	return n, b.taken(n)
}

// abandon ends the input for its reader, and drops what is there and to come.
func (b *inbox) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone, b.data = true, nil
	b.more.Broadcast()
}
