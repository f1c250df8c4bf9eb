package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Streams are the host's ends of a process's streams.
type Streams struct {
	In       io.Reader // nil: at its end
	Out, Err io.Writer
	Sizes    <-chan Size  // of the terminal, when it changes; may be nil
	Signals  <-chan uint8 // for the process; may be nil
}

// ErrGuestGone is the end of a session without a word from the guest.
var ErrGuestGone = errors.New("the guest ended, or its agent did")

// Run conducts a session over a connection to the agent, which it closes, and
// returns how the process ended. A *Failure is the guest's refusal. When ctx
// is done the process gets SIGHUP and Run returns the cause. A Read of In that
// is under way at the end is left behind.
func Run(ctx context.Context, conn io.ReadWriteCloser, req Request, s Streams) (Status, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	st, err := run(conn, req, s)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return st, err
}

func run(conn io.ReadWriteCloser, req Request, s Streams) (Status, error) {
	w := NewWriter(conn)
	start, err := req.Encode()
	if err != nil {
		return Status{}, err
	}
	if err := w.Send(Start, start); err != nil {
		return Status{}, fmt.Errorf("%w: %w", ErrGuestGone, err)
	}
	c := &client{w: w, window: Window}
	c.grown = sync.NewCond(&c.mu)
	done := make(chan struct{})
	defer func() { close(done); c.end() }()
	go c.pass(s, done)
	return c.hear(NewReader(conn), s)
}

// client is the host's side of a session under way.
type client struct {
	w *Writer

	mu     sync.Mutex
	grown  *sync.Cond
	window int  // bytes of input that may be sent; guarded by mu
	ended  bool // guarded by mu
}

// hear takes what the guest sends until the end.
func (c *client) hear(r *Reader, s Streams) (Status, error) {
	feeding := false
	for {
		t, p, err := r.Next()
		if err != nil {
			return Status{}, fmt.Errorf("%w: %w", ErrGuestGone, err)
		}
		switch t {
		case Started:
			if !feeding {
				feeding = true
				go c.feed(s.In)
			}
		case Stdout:
			_, err = s.Out.Write(p)
		case Stderr:
			_, err = s.Err.Write(p)
		case Taken:
			err = c.taken(p)
		case Exited:
			return ParseStatus(p)
		case Failed:
			f, err := ParseFailure(p)
			if err != nil {
				return Status{}, err
			}
			return Status{}, f
		default:
			err = fmt.Errorf("agent: frame of unknown type %d from the guest", t)
		}
		if err != nil {
			return Status{}, err
		}
	}
}

// feed sends the input, as far as the window lets it.
func (c *client) feed(in io.Reader) {
	buf := make([]byte, MaxPayload/2)
	for in != nil {
		room := c.room()
		if room == 0 {
			return
		}
		n, err := in.Read(buf[:min(room, len(buf))])
		c.mu.Lock()
		c.window -= n
		c.mu.Unlock()
		if n > 0 && c.w.Send(Stdin, buf[:n]) != nil {
			return // hear finds out why
		}
		if err != nil {
			break
		}
	}
	c.w.Send(StdinEnd, nil)
}

// room waits until the window is open; 0 when the session is over.
func (c *client) room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.window <= 0 && !c.ended {
		c.grown.Wait()
	}
	if c.ended {
		return 0
	}
	return c.window
}

func (c *client) taken(p []byte) error {
	if len(p) != 4 {
		return errPayload
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := binary.LittleEndian.Uint32(p)
	if n > uint32(Window-c.window) {
		return fmt.Errorf("agent: the guest took %d bytes of %d that were sent", n, Window-c.window)
	}
	c.window += int(n)
	c.grown.Signal()
	return nil
}

func (c *client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.grown.Broadcast()
}

// pass sends sizes and signals until done.
func (c *client) pass(s Streams, done <-chan struct{}) {
	for {
		var err error
		select {
		case <-done:
			return
		case size := <-s.Sizes:
			err = c.w.Send(Resize, size.Encode())
		case sig := <-s.Signals:
			err = c.w.Send(Signal, []byte{sig})
		}
		if err != nil {
			return // hear finds out why
		}
	}
}
