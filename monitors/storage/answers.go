package storage

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"splitvm/remote"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// maxAnswers is how many answers go in one send.
const maxAnswers = 64

// answers is what waits in a connection to be sent. Whoever has an answer adds it;
// the connection's own goroutine sends what it added before it waits.
type answers struct {
	conn    transport.Conn
	timeout time.Duration

	mu    sync.Mutex
	vec   *transport.Vec // guarded by mu, as is all below
	heads []byte
	n     int
	used  []*buffer
	err   error // of a send; the connection is done for
}

func newAnswers(conn transport.Conn, timeout time.Duration) *answers {
	return &answers{conn: conn, timeout: timeout, vec: transport.NewVec(2 * maxAnswers), heads: make([]byte, maxAnswers*wire.HeaderSize)}
}

// add queues an answer whose body is b, which may be nil and is released when it
// was sent.
func (a *answers) add(h *wire.Header, b *buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == maxAnswers {
		a.flush()
	}
	head := a.heads[a.n*wire.HeaderSize:][:wire.HeaderSize]
	a.n++
	if b != nil {
		h.Length = uint32(len(b.mem))
	}
	h.Encode(head)
	a.vec.Add(head)
	if b != nil {
		a.vec.Add(b.mem)
		a.used = append(a.used, b)
	}
}

// send sends what is queued.
func (a *answers) send() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flush()
	return a.err
}

// flush is send. Preconditions: mu is held.
func (a *answers) flush() {
	if a.n > 0 && a.err == nil {
		if a.err = a.push(); a.err != nil {
			a.conn.Shutdown()
		}
	}
	for _, b := range a.used {
		b.release()
	}
	a.used, a.n = a.used[:0], 0
	a.vec.Reset()
}

func (a *answers) push() error {
	var began time.Time
	for a.vec.Len() > 0 {
		if _, err := a.conn.Send(a.vec); err != nil && !errors.Is(err, transport.ErrPatience) {
			return err
		}
		switch {
		case a.vec.Len() == 0:
		case began.IsZero():
			began = time.Now()
		case time.Since(began) > a.timeout:
			return fmt.Errorf("%w: peer does not take its answers", remote.Timeout)
		}
	}
	return nil
}
