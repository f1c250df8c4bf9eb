package wire

import (
	"errors"
	"fmt"
	"io"
	"time"

	"splitvm/remote"
	"splitvm/remote/transport"
)

// Receiver is what a Stream reads from; a transport.Conn is one.
type Receiver interface {
	// Recv and TryRecv are as in transport.Conn.
	Recv(v *transport.Vec) (int, error)
	TryRecv(v *transport.Vec) (int, error)
}

// ErrSlow means that the peer stopped in the middle of a message for longer
// than StreamConfig.Limit.
var ErrSlow = fmt.Errorf("%w: peer stopped in the middle of a message", remote.Timeout)

// StreamConfig is how a Stream reads.
type StreamConfig struct {
	// Limit is how long a message may take from its first to its last byte,
	// checked when the Receiver's patience ends or a piece arrives. 0 is no limit.
	Limit time.Duration
	// Idle, if set, is called each time the Receiver's patience ends between
	// two messages; its error ends Next.
	Idle func() error
	// Dry, if set, is called before blocking while SetPending is in force: the
	// time to send what is pending. Its error ends the method under way.
	Dry func() error
	// Spin is for how long to poll before blocking. 0 is not at all; more
	// burns a processor to save a wake-up.
	Spin time.Duration
	// Ahead is the largest read-ahead; 0 is MaxMeta.
	Ahead int
}

// Stream reads messages. After each Next the body must be consumed by Take,
// Fill and Skip, in the order of its parts, before the next Next. Line payload
// goes straight to where Fill says, except for the part that came together
// with the header, which is at most the read-ahead. Not for concurrent use; an
// error of any method is final.
type Stream struct {
	from  Receiver
	cfg   StreamConfig
	buf   []byte // buf[r:w] received, not consumed
	r, w  int
	most  int // ahead is at most this
	ahead int
	// pending is that Dry must be called before blocking
	pending bool
	vec     *transport.Vec
	mid     bool      // a part of the message under way has arrived
	began   time.Time // when the message under way was first waited for; zero: not yet
}

// MinAhead reads no byte beyond a header.
const MinAhead = HeaderSize

// NewStream returns a Stream with the largest read-ahead.
func NewStream(from Receiver, cfg StreamConfig) *Stream {
	most := max(cfg.Ahead, MaxMeta)
	return &Stream{
		from:  from,
		cfg:   cfg,
		buf:   make([]byte, most+HeaderSize),
		most:  most,
		ahead: most,
		vec:   transport.NewVec(remote.MaxBatch + 1),
	}
}

// SetAhead says how many bytes from the next header on may be read together
// (MinAhead to the largest read-ahead): many where short messages are expected, few
// where line payload is, since what is read ahead of a payload must be copied.
func (s *Stream) SetAhead(n int) { s.ahead = max(MinAhead, min(n, s.most)) }

// SetPending says that answers wait to be sent, so that the next wait is tried
// without blocking first and, if it has to block, Dry is called before.
func (s *Stream) SetPending() { s.pending = true }

// Buffered returns how many bytes were received and not consumed.
func (s *Stream) Buffered() int { return s.w - s.r }

// Next reads the next header. io.EOF at the end of the stream between two
// messages, io.ErrUnexpectedEOF inside of one.
func (s *Stream) Next(h *Header) error {
	s.began = time.Time{}
	s.mid = s.Buffered() > 0
	if err := s.want(HeaderSize, s.ahead); err != nil {
		return err
	}
	s.mid = true
	b := s.buf[s.r : s.r+HeaderSize]
	s.r += HeaderSize
	return h.Decode(b)
}

// Take returns the next n bytes of the body (n <= MaxMeta), valid until the
// next call of any method.
func (s *Stream) Take(n int) ([]byte, error) {
	if err := s.want(n, n); err != nil {
		return nil, err
	}
	b := s.buf[s.r : s.r+n]
	s.r += n
	return b, nil
}

// Skip drops the next n bytes of the body.
func (s *Stream) Skip(n int) error {
	for n > 0 {
		if s.Buffered() == 0 {
			if err := s.want(1, min(n, len(s.buf))); err != nil {
				return err
			}
		}
		k := min(n, s.Buffered())
		s.r += k
		n -= k
	}
	return nil
}

// Fill receives the next bytes of the body into the slices of mem, at most
// remote.MaxBatch of them.
func (s *Stream) Fill(mem [][]byte) error {
	s.vec.Reset()
	want := 0
	for _, m := range mem {
		k := copy(m, s.buf[s.r:s.w])
		s.r += k
		s.vec.Add(m[k:])
		want += len(m) - k
	}
	if want == 0 {
		return nil
	}
	s.r, s.w = 0, 0
	s.vec.Add(s.buf[:s.ahead])
	if err := s.recv(want); err != nil {
		return err
	}
	s.w = s.ahead - s.vec.Len()
	s.vec.Reset()
	return nil
}

// want receives until n bytes are buffered, accepting up to most of them.
func (s *Stream) want(n, most int) error {
	if s.Buffered() >= n {
		return nil
	}
	if s.r == s.w {
		s.r, s.w = 0, 0
	} else if len(s.buf)-s.r < most {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	need, free := n-s.Buffered(), most-s.Buffered()
	s.vec.Reset()
	s.vec.Add(s.buf[s.w : s.w+free])
	if err := s.recv(need); err != nil {
		return err
	}
	s.w += free - s.vec.Len()
	s.vec.Reset()
	return nil
}

// recv receives at least need bytes into the Vec.
func (s *Stream) recv(need int) error {
	for {
		n, err := s.once()
		if err == nil {
			s.mid = true
			if need -= n; need <= 0 {
				return nil
			}
			err = s.overdue()
		} else {
			err = s.excuse(err)
		}
		if err != nil {
			return err
		}
	}
}

// excuse returns nil where the failed receive is to be tried again.
func (s *Stream) excuse(err error) error {
	switch {
	case errors.Is(err, transport.ErrPatience) && s.mid:
		return s.overdue()
	case errors.Is(err, transport.ErrPatience) && s.cfg.Idle != nil:
		return s.cfg.Idle()
	case errors.Is(err, transport.ErrPatience):
		return nil
	case err == io.EOF && s.mid:
		return io.ErrUnexpectedEOF
	}
	return err
}

// overdue fails if the message under way takes too long. The clock starts at
// the first call, which is the first time that the message had to be waited
// for, so that messages in one piece never read it.
func (s *Stream) overdue() error {
	switch {
	case s.cfg.Limit == 0:
		return nil
	case s.began.IsZero():
		s.began = time.Now()
		return nil
	case time.Since(s.began) > s.cfg.Limit:
		return ErrSlow
	}
	return nil
}

// once receives something: at once if there is something; else by polling if
// that is configured; else by blocking.
func (s *Stream) once() (int, error) {
	if s.pending {
		if n, err := s.from.TryRecv(s.vec); !errors.Is(err, transport.ErrWouldBlock) {
			return n, err
		}
		s.pending = false
		if err := s.cfg.Dry(); err != nil {
			return 0, err
		}
	}
	if s.cfg.Spin > 0 {
		for end := time.Now().Add(s.cfg.Spin); time.Now().Before(end); {
			if n, err := s.from.TryRecv(s.vec); !errors.Is(err, transport.ErrWouldBlock) {
				return n, err
			}
		}
	}
	return s.from.Recv(s.vec)
}
