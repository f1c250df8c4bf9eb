package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"splitvm/guest/init/cmdline"
)

// Request is what a session is for: one of Exec, Put and Get.
type Request struct {
	Version int `json:"v"`

	// Exec runs a command; its Stdio has no meaning. With a TTY it has a
	// pseudoterminal of the given size, and everything it writes is Stdout.
	Exec *cmdline.Command `json:"exec,omitempty"`
	Size Size             `json:"size,omitzero"`

	// Put unpacks the tar archive that comes as Stdin at a path of the guest's
	// (tree.Unpack), Get sends one of it as Stdout (tree.Pack).
	Put string `json:"put,omitempty"`
	Get string `json:"get,omitempty"`
}

// Check tells what is wrong with r, if something is.
func (r Request) Check() error {
	if r.Version != Version {
		return fmt.Errorf("agent: protocol %d, not %d: host and guest are of different releases", r.Version, Version)
	}
	kinds := 0
	for _, has := range []bool{r.Exec != nil, r.Put != "", r.Get != ""} {
		if has {
			kinds++
		}
	}
	if kinds != 1 {
		return errors.New("agent: a request is for one thing")
	}
	if r.Exec != nil {
		return r.Exec.Check()
	}
	return nil
}

// Encode gives the payload of Start.
func (r Request) Encode() ([]byte, error) {
	r.Version = Version
	if err := r.Check(); err != nil {
		return nil, err
	}
	p, err := json.Marshal(r)
	if err == nil && len(p) > MaxPayload {
		err = fmt.Errorf("agent: a request of %d bytes is longer than %d: put what it needs into a file of the guest", len(p), MaxPayload)
	}
	return p, err
}

// ParseRequest reads the payload of Start.
func ParseRequest(p []byte) (Request, error) {
	var r Request
	if err := json.Unmarshal(p, &r); err != nil {
		return r, fmt.Errorf("agent: request: %w", err)
	}
	return r, r.Check()
}

// Size is a terminal's.
type Size struct {
	Cols uint16 `json:"cols"`
	Rows uint16 `json:"rows"`
}

// Encode gives the payload of Resize.
func (s Size) Encode() []byte {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, s.Cols), s.Rows)
}

var errPayload = errors.New("agent: a payload of the wrong length")

// ParseSize reads the payload of Resize.
func ParseSize(p []byte) (Size, error) {
	if len(p) != 4 {
		return Size{}, errPayload
	}
	return Size{binary.LittleEndian.Uint16(p), binary.LittleEndian.Uint16(p[2:])}, nil
}

// Status is how a process ended.
type Status struct {
	Code   uint8 // its exit status, if Signal is 0
	Signal uint8 // that ended it
}

// ExitStatus is a shell's number for it.
func (s Status) ExitStatus() int {
	if s.Signal != 0 {
		return 128 + int(s.Signal)
	}
	return int(s.Code)
}

// Encode gives the payload of Exited.
func (s Status) Encode() []byte { return []byte{s.Code, s.Signal} }

// ParseStatus reads the payload of Exited.
func ParseStatus(p []byte) (Status, error) {
	if len(p) != 2 {
		return Status{}, errPayload
	}
	return Status{p[0], p[1]}, nil
}

// Failure is the reason why a request failed, and a shell's exit status for it.
type Failure struct {
	Status uint8
	Reason string
}

func (f *Failure) Error() string { return f.Reason }

// maxReason keeps a reason within a frame.
const maxReason = 4096

// Encode gives the payload of Failed.
func (f *Failure) Encode() []byte {
	return append([]byte{f.Status}, f.Reason[:min(len(f.Reason), maxReason)]...)
}

// ParseFailure reads the payload of Failed.
func ParseFailure(p []byte) (*Failure, error) {
	if len(p) < 1 {
		return nil, errPayload
	}
	return &Failure{p[0], string(p[1:])}, nil
}
