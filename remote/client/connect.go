package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"time"

	"splitvm/remote"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// Times of connecting.
const (
	firstPause     = 2 * time.Millisecond
	longestPause   = time.Second
	connectTimeout = 5 * time.Second
	patience       = 500 * time.Millisecond // how often a blocked call looks around
	messageLimit   = 10 * time.Second
)

// run keeps the link connected until ctx ends or it fails for good.
func (l *link) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(l.over)
	pause := firstPause
	for ctx.Err() == nil && l.failed() == nil {
		before := l.answers()
		err := l.session(ctx)
		if permanent(err) {
			l.client.fail(fmt.Errorf("memory monitor %s: %w", l.client.cfg.Address, err))
			return
		}
		if l.answers() != before {
			pause = firstPause // it had worked
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, longestPause)
	}
}

// answers returns how many answers were received so far.
func (l *link) answers() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard
}

// session connects once and receives until the connection is lost.
func (l *link) session(ctx context.Context) error {
	conn, s, sums, err := l.connect(ctx)
	if err != nil {
		l.mu.Lock()
		l.lost = err
		l.mu.Unlock()
		l.client.cfg.Log.Debug("memory monitor cannot be reached", "class", l.class, "err", err)
		return err
	}
	if l.install(conn, sums) {
		defer l.share(conn)()
		l.once.Do(func() { close(l.ready) })
		l.drain()
		err = l.receive(conn, s)
		level := slog.LevelInfo
		if remote.KindOf(l.failed()) == remote.Closed { // by ourselves
			level = slog.LevelDebug
		}
		l.client.cfg.Log.Log(ctx, level, "connection to memory monitor lost", "peer", conn.Peer(), "class", l.class, "err", err)
	}
	l.takeDown(err)
	conn.Close()
	return err
}

// connect dials and greets.
func (l *link) connect(ctx context.Context) (transport.Conn, *wire.Stream, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := l.client.cfg.Dial(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	stop := context.AfterFunc(ctx, conn.Shutdown)
	s, w, err := l.greet(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = l.client.bind(w.Instance)
	}
	if err != nil {
		conn.Close()
		return nil, nil, false, fmt.Errorf("greet memory monitor %s: %w", conn.Peer(), err)
	}
	return conn, s, w.Options&wire.OptSums != 0, nil
}

// greet does HELLO.
func (l *link) greet(conn transport.Conn) (*wire.Stream, wire.Welcome, error) {
	var w wire.Welcome
	if err := conn.SetPatience(patience, patience); err != nil {
		return nil, w, err
	}
	if err := l.sendHello(conn); err != nil {
		return nil, w, err
	}
	cfg := wire.StreamConfig{Limit: messageLimit, Dry: l.uncork}
	if l.class == wire.Demand {
		cfg.Spin = l.client.cfg.Spin
	}
	s := wire.NewStream(conn, cfg)
	s.SetAhead(wire.MinAhead)
	h := &l.in.h
	if err := s.Next(h); err != nil {
		return nil, w, err
	}
	if h.Op != wire.Hello.Answer() || h.Length > wire.MaxMeta {
		return nil, w, errAnswer
	}
	if h.Status != remote.OK {
		return nil, w, h.Status
	}
	body, err := s.Take(int(h.Length))
	if err != nil {
		return nil, w, err
	}
	return s, w, w.Decode(body)
}

func (l *link) sendHello(conn transport.Conn) error {
	l.mu.Lock()
	l.attempt++
	g := wire.Greeting{Class: l.class, Attempt: l.attempt, Session: l.client.cfg.Session, Incarnation: l.client.cfg.Incarnation}
	l.mu.Unlock()
	if l.client.cfg.Checksums {
		g.Options |= wire.OptSums
	}
	b := make([]byte, wire.HeaderSize+wire.HelloSize)
	h := wire.Header{Op: wire.Hello, Length: wire.HelloSize}
	h.Encode(b)
	g.Encode(b[wire.HeaderSize:])
	vec := transport.NewVec(1)
	vec.Add(b)
	for vec.Len() > 0 {
		if _, err := conn.Send(vec); err != nil && !errors.Is(err, transport.ErrPatience) {
			return err
		}
	}
	return nil
}

// install makes conn the link's, unless the link has failed for good.
func (l *link) install(conn transport.Conn, sums bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal != nil {
		return false
	}
	l.conn, l.sums, l.shutting, l.lost = conn, sums, false, nil
	return true
}

// takeDown takes the connection out of use, waits for the sender, and puts what
// was in flight back at the front of the queue, in order. All operations may be
// asked again: the monitor does not execute what is left of the old connection
// once the new one is greeted, and a second Delete is known by its answer.
func (l *link) takeDown(err error) {
	l.mu.Lock()
	l.corked = false
	if l.conn != nil {
		l.reset(err)
		for l.sending {
			l.quiet.Wait()
		}
		l.conn = nil
	}
	failed := l.recall()
	if l.fatal != nil {
		failed = append(failed, l.giveUp(&l.queue, l.fatal)...)
	}
	l.mu.Unlock()
	finish(failed)
}

// recall empties the flight. It returns the requests that failed.
// Preconditions: mu is held, no connection, no sender.
func (l *link) recall() []*Request {
	var failed []*Request
	for r := l.flight.tail; r != nil; r = l.flight.tail {
		l.land(r)
		r.Err, r.Zero = nil, remote.LineSet{}
		if r.doomed != nil {
			r.Err = r.doomed
			failed = append(failed, r)
			continue
		}
		r.state = queued
		l.queue.pushFront(r)
	}
	return failed
}
