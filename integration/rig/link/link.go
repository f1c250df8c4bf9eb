// Package link is what the host and the agent in the rig's L1 machine say to
// each other over one virtio-serial port: frames that start commands and carry
// their input, output and status. It knows nothing of processes or machines.
//
// A port is a reliable stream of bytes, so there is no checksum and no resending;
// every frame begins with a mark, so that a peer which has lost step is found out
// at once rather than misunderstood.
//
// Every command is a session with a number that the host chooses and does not
// use again. Its life, h for the host and a for the agent:
//
//	h Start; then any of: h Stdin, h Signal, h Resize, a Taken, a Stdout, a Stderr; a Exit, the last
//
// Frames of a session that the other side doesn't know (any more) are ignored:
// they cross with its end. Input is flow-controlled (Window), as a command that
// doesn't read must not keep a Signal from arriving. Output isn't: the host reads
// always.
//
// A frame is, little-endian: mark u16, kind u8, zero u8, session u32, length of
// the payload u32, payload.
package link

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// PortName is the name of the virtio-serial port.
const PortName = "splitvm.rig.link"

const (
	mark       = 0x4C52
	headerSize = 12
	// MaxPayload bounds a frame's payload, in bytes.
	MaxPayload = 64 << 10
	// Window is how much input of a session the host sends ahead of Taken, in bytes.
	Window = 256 << 10
)

// A Kind says what a frame is. Append only.
type Kind uint8

const (
	Hello    Kind = 1 + iota // agent to host, first: HelloInfo
	Beat                     // either way, every second or two: nothing
	Start                    // host to agent: Command
	Stdin                    // host to agent: bytes of input; empty at its end
	Taken                    // agent to host: u32, bytes of input that were passed on
	Signal                   // host to agent: u8, a signal's number, for the command's process group
	Resize                   // host to agent: Size
	Stdout                   // agent to host: bytes
	Stderr                   // agent to host: bytes
	Exit                     // agent to host: Status
	PowerOff                 // host to agent: nothing; the agent syncs disks and powers off
	maxKind  = PowerOff
)

// A SessionID tells commands apart; 0 is for frames of no session.
type SessionID uint32

// A Frame is one message.
type Frame struct {
	Kind    Kind
	Session SessionID
	Payload []byte // at most MaxPayload
}

// HelloInfo is what the agent tells of its machine.
type HelloInfo struct {
	Kernel string  // uname -r
	Uptime float64 // seconds since its kernel started
	NPT    string  // kvm_amd's parameter npt, "Y" or "N"; or why it is unknown
}

// A Command is what to run. With Pull or Push set, Args is empty and the agent
// itself acts: it writes the file or folder Pull as a tar archive to Stdout, or
// unpacks a tar archive from Stdin below folder Push.
type Command struct {
	Args []string
	Env  []string // added to the agent's own
	Dir  string   // "" is /
	TTY  *Size    // where set, standard input, output and error are a terminal of that size
	Pull string
	Push string
}

// A Size is a terminal's.
type Size struct{ Rows, Cols uint16 }

// A Status is how a command ended.
type Status struct {
	Code   int    // exit status; 128 plus the signal where one killed it; -1 where it never ran
	Signal int    // the signal that killed it, or 0
	Error  string // why it never ran, or why the agent failed; or ""
}

// ErrStep is a stream that doesn't hold frames where they must be.
var ErrStep = errors.New("rig link: lost step")

// A Writer writes frames, each whole, from any goroutine.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer // guarded by mu
	buf []byte    // guarded by mu
}

// NewWriter returns a writer of frames to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send writes a frame.
func (w *Writer) Send(f Frame) error {
	if len(f.Payload) > MaxPayload {
		return fmt.Errorf("rig link: frame of kind %d with %d bytes", f.Kind, len(f.Payload))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b := binary.LittleEndian.AppendUint16(w.buf[:0], mark)
	b = append(b, byte(f.Kind), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Session))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Payload)))
	b = append(b, f.Payload...)
	w.buf = b
	_, err := w.w.Write(b)
	return err
}

// SendJSON writes a frame with v as its payload.
func (w *Writer) SendJSON(kind Kind, s SessionID, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Send(Frame{kind, s, payload})
}

// Stream returns a writer that sends what is written to it as frames of a kind.
func (w *Writer) Stream(kind Kind, s SessionID) io.Writer { return &stream{w, kind, s} }

type stream struct {
	w       *Writer
	kind    Kind
	session SessionID
}

func (s *stream) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+MaxPayload)]
		if err := s.w.Send(Frame{s.kind, s.session, part}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// A Reader reads frames; for one goroutine.
type Reader struct {
	r      io.Reader
	header [headerSize]byte
}

// NewReader returns a reader of frames from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next reads a frame. Errors: io.EOF at the stream's end, io.ErrUnexpectedEOF at
// its end within a frame, ErrStep where there is no frame, and the stream's own.
func (r *Reader) Next() (Frame, error) {
	if _, err := io.ReadFull(r.r, r.header[:]); err != nil {
		return Frame{}, err
	}
	h := r.header[:]
	f := Frame{Kind: Kind(h[2]), Session: SessionID(binary.LittleEndian.Uint32(h[4:]))}
	n := binary.LittleEndian.Uint32(h[8:])
	if binary.LittleEndian.Uint16(h) != mark || f.Kind == 0 || f.Kind > maxKind || h[3] != 0 || n > MaxPayload {
		return Frame{}, fmt.Errorf("%w: % x is no frame's beginning", ErrStep, h)
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r.r, f.Payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}

// Decode reads a frame's JSON payload into v.
func (f Frame) Decode(v any) error {
	if err := json.Unmarshal(f.Payload, v); err != nil {
		return fmt.Errorf("%w: frame of kind %d: %w", ErrStep, f.Kind, err)
	}
	return nil
}

// Uint32 reads a frame's payload of one number.
func (f Frame) Uint32() (uint32, error) {
	if len(f.Payload) != 4 {
		return 0, fmt.Errorf("%w: frame of kind %d has %d bytes, not 4", ErrStep, f.Kind, len(f.Payload))
	}
	return binary.LittleEndian.Uint32(f.Payload), nil
}
