package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// wireMessage is a line from the guest. One of Started, Signal and Exit or
// Error is there; Exit may go with Error.
type wireMessage struct {
	Started *wireStart `json:"started,omitempty"`
	Exit    *uint8     `json:"exit,omitempty"`
	Signal  *uint8     `json:"signal,omitempty"`
	Error   *string    `json:"error,omitempty"`
}

type wireStart struct {
	UptimeMS uint32 `json:"uptime_ms"`
}

// wireRequest is a line from the host.
type wireRequest struct {
	Kill uint8 `json:"kill"`
}

// Encode gives the line that tells m, with its newline.
func Encode(m Message) []byte {
	var w wireMessage
	switch m.Kind {
	case Started:
		w.Started = &wireStart{UptimeMS: uint32(m.Uptime.Milliseconds())}
	case Exited:
		w.Exit = &m.Code
	case Signaled:
		w.Signal = &m.Code
	case Failed:
		w.Error = &m.Reason
		if m.Code != ExitFailed {
			w.Exit = &m.Code
		}
	}
	return encodeLine(w)
}

// EncodeRequest gives the line by which the host has a signal, 1 to 64, sent to
// the command.
func EncodeRequest(sig uint8) []byte { return encodeLine(wireRequest{Kill: sig}) }

// encodeLine encodes a value that cannot fail to.
func encodeLine(v any) []byte {
	line, err := json.Marshal(v)
	if err != nil {
		panic("report: " + err.Error())
	}
	return append(line, '\n')
}

// Decode reads one line from a guest, with or without its newline. Errors wrap
// ErrMalformed.
func Decode(line []byte) (Message, error) {
	var w wireMessage
	if err := decodeLine(line, &w); err != nil {
		return Message{}, err
	}
	m, err := w.message()
	if err != nil {
		return Message{}, err
	}
	return m, m.check()
}

// DecodeRequest reads one line from the host: the signal to send. Errors wrap
// ErrMalformed.
func DecodeRequest(line []byte) (sig uint8, err error) {
	var w wireRequest
	if err := decodeLine(line, &w); err != nil {
		return 0, err
	}
	if w.Kill < 1 || w.Kill > 64 {
		return 0, fmt.Errorf("%w: kill %d", ErrMalformed, w.Kill)
	}
	return w.Kill, nil
}

func decodeLine(line []byte, v any) error {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	if len(line) > MaxLine {
		return fmt.Errorf("%w: line of %d bytes", ErrMalformed, len(line))
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}

func (w wireMessage) message() (Message, error) {
	switch {
	case w.Started != nil && w.Exit == nil && w.Signal == nil && w.Error == nil:
		return Start(time.Duration(w.Started.UptimeMS) * time.Millisecond), nil
	case w.Started == nil && w.Signal != nil && w.Exit == nil && w.Error == nil:
		return Killed(*w.Signal), nil
	case w.Started == nil && w.Signal == nil && w.Error != nil:
		code := uint8(ExitFailed)
		if w.Exit != nil {
			code = *w.Exit
		}
		return Failure(code, *w.Error), nil
	case w.Started == nil && w.Signal == nil && w.Exit != nil:
		return Exit(*w.Exit), nil
	}
	return Message{}, fmt.Errorf("%w: it must say one of started, exit, signal and error", ErrMalformed)
}

// Scanner cuts a stream of bytes from a guest into messages, whatever pieces it
// comes in. It holds at most MaxLine bytes. The zero value is ready for use.
type Scanner struct {
	line []byte // of the line begun
	skip bool   // the line begun is longer than MaxLine: drop the rest of it
}

// Write takes the next piece of the stream and calls yield for each line that
// it ends, in order, with the message or why it is none. Lines longer than
// MaxLine are one error each.
func (s *Scanner) Write(p []byte, yield func(Message, error)) {
	for len(p) > 0 {
		piece, rest, ended := bytes.Cut(p, []byte{'\n'})
		p = rest
		if !s.skip && len(s.line)+len(piece) > MaxLine {
			s.line, s.skip = s.line[:0], true
			yield(Message{}, fmt.Errorf("%w: line of more than %d bytes", ErrMalformed, MaxLine))
		}
		if !s.skip {
			s.line = append(s.line, piece...)
		}
		if !ended {
			return
		}
		if !s.skip {
			yield(Decode(s.line))
		}
		s.line, s.skip = s.line[:0], false
	}
}
