package blockclient

import (
	"context"
	"errors"

	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
)

// drain sends what is queued at all replicas.
func (v *Volume) drain() {
	v.mu.Lock()
	replicas := v.replicas
	v.mu.Unlock()
	for _, r := range replicas {
		r.drain()
	}
}

// drain sends what is queued, unless somebody else is sending. It never blocks:
// where a send would, write goes on with it.
func (r *replica) drain() {
	for conn := r.begin(); conn != nil; {
		err := r.trySend(conn)
		if errors.Is(err, transport.ErrWouldBlock) {
			r.kick <- struct{}{} // has room for one, and only the sender kicks
			return
		}
		conn = r.next(err)
	}
}

func (r *replica) trySend(conn transport.Conn) error {
	for r.out.vec.Len() > 0 {
		if _, err := conn.TrySend(r.out.vec); err != nil {
			return err
		}
	}
	return nil
}

// write sends where drain would block, until ctx ends; then nobody is sending.
func (r *replica) write(ctx context.Context) {
	for {
		select {
		case <-r.kick:
		case <-ctx.Done():
			return
		}
		r.v.mu.Lock()
		conn := r.conn // stays while somebody is sending
		r.v.mu.Unlock()
		for conn != nil {
			conn = r.next(r.blockingSend(conn))
		}
	}
}

func (r *replica) blockingSend(conn transport.Conn) error {
	for r.out.vec.Len() > 0 {
		if _, err := conn.Send(r.out.vec); err != nil && !errors.Is(err, transport.ErrPatience) {
			return err
		}
	}
	return nil
}

// begin makes the caller the sender, with messages in out, and returns the
// connection; nil if there is nothing to send, no connection, or a sender.
func (r *replica) begin() transport.Conn {
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	if r.sending || r.corked {
		return nil
	}
	return r.load()
}

// uncork sends what has been queued while run was taking answers. It is called by
// run before it waits.
func (r *replica) uncork() error {
	r.v.mu.Lock()
	r.corked = false
	r.v.mu.Unlock()
	r.drain()
	return nil
}

// next ends a send and begins another one; nil if there is nothing to send.
func (r *replica) next(err error) transport.Conn {
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	r.out.vec.Reset()
	r.out.n = 0
	r.sending = false
	if err != nil {
		r.cut()
	}
	conn := r.load()
	if conn == nil && r.quiet != nil {
		close(r.quiet)
		r.quiet = nil
	}
	return conn
}

// load fills out from the queue. Preconditions: mu is held, nobody is sending.
func (r *replica) load() transport.Conn {
	if r.conn == nil || r.cutting || r.queue.head == nil {
		return nil
	}
	for p := r.queue.head; p != nil && len(r.idle) > 0 && r.out.fits(p); p = r.queue.head {
		r.launch(p)
		if p.req.Op == blockwire.Claim {
			r.epoch = p.req.epoch // and of what follows it
		}
		r.out.add(p, r.epoch, r.v.common[r.index], r.v.id)
	}
	if r.out.n == 0 {
		return nil
	}
	r.sending = true
	return r.conn
}

// cut ends the connection; its reader does the rest. Preconditions: mu is held.
func (r *replica) cut() {
	if r.conn != nil && !r.cutting {
		r.cutting = true
		r.conn.Shutdown()
	}
}
