package agent

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Type says what a frame is.
type Type uint8

// Types from the host.
const (
	Start    Type = 1 // a Request
	Stdin    Type = 2 // bytes
	StdinEnd Type = 3
	Resize   Type = 4 // a Size
	Signal   Type = 5 // a byte: the number
)

// Types from the guest.
const (
	Started Type = 64
	Stdout  Type = 65 // bytes
	Stderr  Type = 66 // bytes
	Taken   Type = 67 // 4 bytes, little-endian: so much more input was taken
	Exited  Type = 68 // two bytes: exit status, and the signal that ended it or 0
	Failed  Type = 69 // a byte: exit status, as of a shell; and the reason
)

const headerSize = 4

// ErrTooLong is a frame of more than MaxPayload bytes.
var ErrTooLong = errors.New("agent: frame too long")

// Reader reads frames. One goroutine may use it.
type Reader struct {
	r   *bufio.Reader
	buf []byte
}

// NewReader reads from r, and more than one frame at once.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, headerSize+MaxPayload), buf: make([]byte, MaxPayload)}
}

// Next reads a frame; the payload is valid until the next call. io.EOF is the
// end between frames, io.ErrUnexpectedEOF that within one.
func (r *Reader) Next() (Type, []byte, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]) >> 8)
	if n > MaxPayload {
		return 0, nil, fmt.Errorf("%w: type %d, %d bytes", ErrTooLong, head[0], n)
	}
	if _, err := io.ReadFull(r.r, r.buf[:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return Type(head[0]), r.buf[:n], nil
}

// Writer writes frames. It may be used by several goroutines.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer // guarded by mu
	buf []byte    // guarded by mu
}

// NewWriter writes each frame to w by one Write.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send writes a frame of up to MaxPayload bytes.
func (w *Writer) Send(t Type, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("%w: type %d, %d bytes", ErrTooLong, t, len(payload))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = binary.LittleEndian.AppendUint32(w.buf[:0], uint32(t)|uint32(len(payload))<<8)
	w.buf = append(w.buf, payload...)
	_, err := w.w.Write(w.buf)
	return err
}

// Stream is a stream of bytes as frames of one type.
func (w *Writer) Stream(t Type) io.Writer { return stream{w, t} }

type stream struct {
	w *Writer
	t Type
}

func (s stream) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, MaxPayload)
		if err := s.w.Send(s.t, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
