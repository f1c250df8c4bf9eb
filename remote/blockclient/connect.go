package blockclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// Times of connecting.
const (
	firstPause     = 2 * time.Millisecond
	longestPause   = 250 * time.Millisecond
	connectTimeout = 5 * time.Second
	patience       = 500 * time.Millisecond // how often a blocked call looks around
	messageLimit   = 10 * time.Second
)

var (
	errAnswer = fmt.Errorf("%w: answer does not match its request", remote.Protocol)
	errLost   = fmt.Errorf("%w: the monitor's host went down with writes that had not been flushed", remote.Restarted)
)

// run keeps the replica connected until ctx ends.
func (r *replica) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		r.session(ctx)
		if time.Since(began) > longestPause {
			pause = firstPause // it had worked
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, longestPause)
	}
}

// session connects once and receives until the connection is lost.
func (r *replica) session(ctx context.Context) {
	conn, s, opened, err := r.connect(ctx)
	if err == nil {
		err = r.install(ctx, conn, opened)
		if err != nil {
			conn.Close()
		}
	}
	if err != nil {
		r.v.unreachable(r, err)
		r.v.cfg.Log.Debug("storage monitor cannot be used", "monitor", r.address, "err", err)
		return
	}
	r.v.announce()
	r.v.drain()
	err = r.receive(s)
	r.v.cfg.Log.Debug("connection to storage monitor lost", "monitor", r.address, "err", err)
	r.takeDown()
	conn.Close()
}

// unreachable notes why a replica could not be opened. One that another writer has
// claimed since is the end of the volume.
func (v *Volume) unreachable(r *replica, err error) {
	var done []*Request
	v.mu.Lock()
	r.failure = err
	if r.claimed && r.state == member && remote.KindOf(err) == remote.StaleEpoch {
		done = v.fail(done, err)
	}
	v.mu.Unlock()
	call(done)
	v.announce()
}

// announce tells Open and join that something is new.
func (v *Volume) announce() {
	select {
	case v.arrived <- struct{}{}:
	default:
	}
}

// connect dials and opens.
func (r *replica) connect(ctx context.Context) (transport.Conn, *wire.Stream, blockwire.Opened, error) {
	var opened blockwire.Opened
	dialing, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := r.v.cfg.Dial(dialing, r.address)
	if err != nil {
		return nil, nil, opened, err
	}
	stop := context.AfterFunc(dialing, conn.Shutdown)
	s, err := r.greet(conn, &opened)
	if !stop() && err == nil {
		err = dialing.Err()
	}
	if err != nil {
		conn.Close()
		return nil, nil, opened, fmt.Errorf("open volume %q at %s: %w", r.v.cfg.Name, r.address, err)
	}
	return conn, s, opened, nil
}

// greet does OPEN.
func (r *replica) greet(conn transport.Conn, opened *blockwire.Opened) (*wire.Stream, error) {
	if err := conn.SetPatience(patience, patience); err != nil {
		return nil, err
	}
	r.v.mu.Lock()
	q := blockwire.OpenRequest{Writer: r.claimed, Session: r.v.session, Name: r.v.cfg.Name}
	r.v.mu.Unlock()
	b := q.Append(make([]byte, wire.HeaderSize, wire.HeaderSize+256))
	h := wire.Header{Op: blockwire.Open, Length: uint32(len(b) - wire.HeaderSize)}
	h.Encode(b)
	vec := transport.NewVec(1)
	vec.Add(b)
	for vec.Len() > 0 {
		if _, err := conn.Send(vec); err != nil && !errors.Is(err, transport.ErrPatience) {
			return nil, err
		}
	}
	s := wire.NewStream(conn, wire.StreamConfig{Limit: messageLimit, Dry: r.uncork})
	s.SetAhead(wire.MinAhead) // a payload is received to where it goes, never copied
	if err := s.Next(&r.head); err != nil {
		return nil, err
	}
	switch {
	case r.head.Op != blockwire.Open.Answer() || r.head.Length > wire.MaxMeta:
		return nil, errAnswer
	case r.head.Status != remote.OK:
		return nil, r.head.Status
	}
	body, err := s.Take(int(r.head.Length))
	if err != nil {
		return nil, err
	}
	return s, opened.Decode(body)
}

// install makes conn the replica's connection.
func (r *replica) install(ctx context.Context, conn transport.Conn, o blockwire.Opened) error {
	var done []*Request
	r.v.mu.Lock()
	err := r.check(ctx, o)
	if err == nil && r.opened.Volume != 0 && o.Boot != r.opened.Boot {
		done, err = r.v.rebooted(done, r)
	}
	if err == nil {
		r.opened, r.failure, r.bereft = o, nil, false
		r.epoch = o.Epoch
		r.conn, r.cutting, r.heard = conn, false, time.Now()
	}
	r.v.mu.Unlock()
	call(done)
	r.v.drain() // if there is a vote
	return err
}

// check tells whether what was opened is the replica. Preconditions: mu is held.
func (r *replica) check(ctx context.Context, o blockwire.Opened) error {
	v := r.v
	switch {
	case v.fatal != nil:
		return v.fatal
	case ctx.Err() != nil:
		return remote.Closed
	case r.opened.Volume != 0 && (o.Volume != r.opened.Volume || o.Monitor != r.opened.Monitor):
		return fmt.Errorf("%s has another volume of this name: %w", r.address, remote.NoVolume)
	}
	return nil
}

// corkFor is for how many answers in a row requests that are submitted meanwhile
// wait, to be sent together.
const corkFor = 16

// receive takes answers from the stream until it fails.
func (r *replica) receive(s *wire.Stream) error {
	for n := 1; ; n++ {
		s.SetPending()
		if n%corkFor == 0 {
			r.uncork()
		}
		if err := s.Next(&r.head); err != nil {
			return err
		}
		if !r.head.Op.IsAnswer() {
			return errAnswer
		}
		if err := r.answer(s); err != nil {
			return err
		}
	}
}

// takeDown takes the connection out of use, waits for the sender, and puts what
// was in flight back at the front of the queue, in order.
func (r *replica) takeDown() {
	v := r.v
	v.mu.Lock()
	r.cut()
	if r.sending {
		quiet := make(chan struct{})
		r.quiet = quiet
		v.mu.Unlock()
		<-quiet
		v.mu.Lock()
	}
	r.conn, r.since, r.corked = nil, time.Now(), false
	var done []*Request
	if r.state == joining {
		r.state = away
	}
	if r.state == away {
		done = v.drop(done, r)
	}
	for p := r.flight.tail; p != nil; p = r.flight.tail {
		r.land(p)
		if !p.req.open { // given up meanwhile
			continue
		}
		p.state = queued
		r.queue.pushFront(p)
	}
	done = v.reroute(done, r)
	v.mu.Unlock()
	call(done)
	v.drain()
}

// reroute moves the reads that wait for a lost replica to another one.
// Preconditions: mu is held.
func (v *Volume) reroute(done []*Request, r *replica) []*Request {
	other := false
	for _, o := range v.replicas {
		other = other || o != r && o.state == member && o.conn != nil
	}
	if !other {
		return done
	}
	for p := r.queue.head; p != nil; {
		next := p.after
		if p.req.Op == blockwire.Read && p.req.only == nil {
			r.land(p)
			done = v.routeRead(done, p.req)
		}
		p = next
	}
	return done
}
