package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"splitvm/ept"
)

// Session is the VMM's connection to the pager that serves it. Its methods are
// safe for concurrent use.
type Session struct {
	guest *Guest
	conn  *net.UnixConn
	Ready Ready

	mu      sync.Mutex
	nextID  uint64
	pending map[uint64]chan *Message // guarded by mu; nil after the end
	failed  *Failed                  // guarded by mu

	done    chan struct{}   // closed at the end
	life    context.Context // ends with it
	stop    context.CancelFunc
	placing sync.WaitGroup
}

// ErrPagerGone says that the pager closed its connection or died.
var ErrPagerGone = errors.New("the pager is gone")

// Attach hands the guest to a pager on conn and returns once that serves it.
// Conn is the session's from then on. The error is a *Failed if the pager says
// that it can't serve, ErrPagerGone if it went away. The pager before must
// be gone: dead and waited for.
func (g *Guest) Attach(ctx context.Context, conn *net.UnixConn) (*Session, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s, err := g.attachTo(conn)
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("hand guest memory to pager: %w", err)
	}
	return s, nil
}

func (g *Guest) attachTo(conn *net.UnixConn) (*Session, error) {
	if err := send(conn, &Message{Attach: g.attachment()}, g.files()); err != nil {
		return nil, errors.Join(ErrPagerGone, err)
	}
	m, err := receive(conn)
	switch {
	case err != nil:
		return nil, errors.Join(ErrPagerGone, err)
	case m.Failed != nil:
		return nil, m.Failed
	case m.Ready == nil:
		return nil, fmt.Errorf("%w: pager answers the attach with something else", errMessage)
	}
	s := &Session{guest: g, conn: conn, Ready: *m.Ready, pending: make(map[uint64]chan *Message), done: make(chan struct{})}
	s.life, s.stop = context.WithCancel(context.Background())
	go s.read()
	return s, nil
}

// read hands answers to who waits for them, until the connection ends.
func (s *Session) read() {
	defer close(s.done)
	defer s.placing.Wait()
	defer s.stop()
	for {
		m, err := receive(s.conn)
		if err != nil {
			s.end()
			return
		}
		if m.Moved != nil {
			s.note(m)
			continue
		}
		if m.Place != nil {
			s.placing.Go(func() { s.place(m.Place.Index) })
			continue
		}
		s.mu.Lock()
		if m.Failed != nil { // the pager serves nothing any more, and waits for us to hang up
			s.failed = m.Failed
			s.mu.Unlock()
			s.end()
			return
		}
		answer := s.pending[m.ID]
		delete(s.pending, m.ID)
		s.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	}
}

// note makes a vRegion's new owner known to the pagers to come, and says so.
func (s *Session) note(m *Message) {
	answer := &Message{ID: m.ID, Done: done(s.guest.moved(m.Moved))}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = send(s.conn, answer, nil) // that the pager is gone, the next read notices
}

// place answers a pager that needs a vRegion.
func (s *Session) place(index uint32) {
	answer := s.guest.place(s.life, index)
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = send(s.conn, &Message{Placed: &answer}, nil) // as above
}

func (s *Session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, answer := range s.pending {
		close(answer)
	}
	s.pending = nil
	s.conn.Close()
}

// Done is closed when the pager is gone; Err tells why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns a *Failed if the vNode must stop, else ErrPagerGone: then another
// pager can carry on. Precondition: Done is closed.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	return ErrPagerGone
}

// Close hangs up: the pager stops to serve. It returns when the connection has
// ended.
func (s *Session) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

// call sends a request and waits for its answer.
func (s *Session) call(ctx context.Context, m *Message) (*Message, error) {
	answer := make(chan *Message, 1)
	s.mu.Lock()
	if s.pending == nil {
		s.mu.Unlock()
		return nil, ErrPagerGone
	}
	s.nextID++
	m.ID = s.nextID
	s.pending[m.ID] = answer
	err := send(s.conn, m, nil)
	s.mu.Unlock()
	if err != nil {
		return nil, errors.Join(ErrPagerGone, err)
	}
	select {
	case m, ok := <-answer:
		if !ok {
			return nil, ErrPagerGone
		}
		if m.Done != nil && m.Done.Refused != "" {
			return nil, errors.New(m.Done.Refused)
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Resize sets the size of the ExCache in lines; it returns when it is set, not
// when the lines above it have left.
func (s *Session) Resize(ctx context.Context, lines uint64) error {
	_, err := s.call(ctx, &Message{Resize: &Resize{Capacity: lines}})
	return wrap("resize ExCache", err)
}

// Discard gives up the content of guest memory: it reads as zeroes afterwards,
// and its memory is free here and at the monitors. The guest must not touch it
// meanwhile.
func (s *Session) Discard(ctx context.Context, gpa ept.GPA, size uint64) error {
	_, err := s.call(ctx, &Message{Discard: &Discard{GPA: gpa, Size: size}})
	return wrap("discard guest memory", err)
}

// Move brings a vRegion to another memory monitor; it returns when that is its
// owner. It takes as long as copying the vRegion does; when ctx ends earlier, the
// move goes on.
func (s *Session) Move(ctx context.Context, m Move) error {
	_, err := s.call(ctx, &Message{Move: &m})
	return wrap("move vRegion", err)
}

// Stats returns the pager's counters.
func (s *Session) Stats(ctx context.Context) (*ept.Stats, error) {
	m, err := s.call(ctx, &Message{Stats: &StatsQuery{}})
	if err != nil {
		return nil, wrap("ask pager for counters", err)
	}
	if m.Report == nil {
		return nil, fmt.Errorf("ask pager for counters: %w", errMessage)
	}
	return m.Report, nil
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}
