package transport

import (
	"errors"
	"time"
)

// Errors that callers branch on. Recv also returns io.EOF.
var (
	// ErrWouldBlock means that TrySend or TryRecv could not proceed now.
	ErrWouldBlock = errors.New("would block")
	// ErrPatience means that nothing could be received or sent for as long as
	// SetPatience allows. The connection is still usable.
	ErrPatience = errors.New("peer made no progress in time")
)

// Conn is a connected byte stream.
type Conn interface {
	// Recv waits for at least one byte and receives as many as are there, up to
	// the length of v. It consumes them from v and returns their number, never
	// 0 without an error. io.EOF when the peer has closed; ErrPatience; or the
	// error of the operating system, wrapped.
	Recv(v *Vec) (int, error)
	// TryRecv is Recv that returns ErrWouldBlock instead of waiting.
	TryRecv(v *Vec) (int, error)
	// Send waits until at least one byte was taken, consumes what was taken
	// from v and returns its length, never 0 without an error.
	Send(v *Vec) (int, error)
	// TrySend is Send that returns ErrWouldBlock instead of waiting.
	TrySend(v *Vec) (int, error)
	// SetPatience bounds each wait of Recv and of Send; 0 means for ever.
	SetPatience(recv, send time.Duration) error
	// Shutdown makes present and later calls of Recv and Send fail or report
	// the end of the stream. It may be called more than once, and after Close.
	Shutdown()
	// Close releases the connection. No other call but Shutdown may be under
	// way or follow.
	Close() error
	// Peer names the other side, for logs.
	Peer() string
}
