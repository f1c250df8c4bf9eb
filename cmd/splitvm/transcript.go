package main

import (
	"context"
	"sync"
	"time"
)

// transcriptSize is how much of what a guest wrote is kept for `splitvm logs`
// and `splitvm console`, in bytes.
const transcriptSize = 1 << 20

// transcript keeps the last of what a guest writes, for any number of readers:
// one that is too slow misses some, and holds nobody up.
type transcript struct {
	mu    sync.Mutex
	ring  []byte        // grows up to transcriptSize; guarded by mu
	total int64         // bytes written in all; guarded by mu
	grown chan struct{} // closed, and made anew, by a write; guarded by mu
	ended bool          // guarded by mu

	clients sync.WaitGroup // senders to them
}

func newTranscript() *transcript { return &transcript{grown: make(chan struct{})} }

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := p; len(rest) > 0; {
		at := int(t.total % transcriptSize)
		n := min(len(rest), transcriptSize-at)
		if grow := at + n - len(t.ring); grow > 0 {
			t.ring = append(t.ring, make([]byte, grow)...)
		}
		copy(t.ring[at:], rest[:n])
		t.total, rest = t.total+int64(n), rest[n:]
	}
	t.wake()
	return len(p), nil
}

// close tells the readers that there will be no more, and waits a moment for
// them to have it all.
func (t *transcript) close() error {
	t.mu.Lock()
	t.ended = true
	t.wake()
	t.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.clients.Wait()
	}()
	select {
	case <-done:
	case <-time.After(outletPatience):
	}
	return nil
}

// begin counts a client in; false at the end.
func (t *transcript) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	t.clients.Add(1)
	return true
}

// wake needs mu.
func (t *transcript) wake() {
	close(t.grown)
	t.grown = make(chan struct{})
}

// at is the position of the last n bytes.
func (t *transcript) at(n int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(0, t.total-n)
}

// read copies from a position, or the oldest byte after it that is kept, and
// returns the position behind what was copied. Where there is nothing yet it
// waits for more; 0 bytes are the end, or that ctx is done.
func (t *transcript) read(ctx context.Context, from int64, p []byte) (n int, next int64) {
	for {
		n, next, grown := t.copy(from, p)
		if n > 0 || grown == nil {
			return n, next
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, from
		}
	}
}

// copy is read without waiting; grown is nil at the end.
func (t *transcript) copy(from int64, p []byte) (n int, next int64, grown <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from = max(from, t.total-transcriptSize)
	if from < t.total {
		at := int(from % transcriptSize)
		n = copy(p, t.ring[at:min(len(t.ring), at+int(t.total-from))])
	} else if t.ended {
		return 0, from, nil
	}
	return n, from + int64(n), t.grown
}
