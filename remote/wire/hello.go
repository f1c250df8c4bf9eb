package wire

import (
	"encoding/binary"
	"fmt"

	"splitvm/remote"
)

// HelloSize is the size of a Hello and WelcomeSize that of a Welcome. Later
// versions may append; what is beyond the known size is ignored.
const (
	HelloSize   = 32
	WelcomeSize = 24
)

// Class is what a connection is for.
type Class uint8

// The classes. Demand carries what a vCPU waits for, and nothing else; Bulk
// carries the rest (prefetch, write-back, control), so that it never queues
// before a demand.
const (
	Demand Class = 0
	Bulk   Class = 1

	// Classes is the number of classes.
	Classes = 2
)

// String names the class.
func (c Class) String() string {
	switch c {
	case Demand:
		return "demand"
	case Bulk:
		return "bulk"
	}
	return fmt.Sprintf("class-%d", uint8(c))
}

// Options are what a connection negotiates: the client offers, the server
// answers with those that it agrees to. The bits are append-only.
type Options uint8

// OptSums puts a checksum on each body, in both directions.
const OptSums Options = 1 << 0

// Greeting is the body of HELLO:
//
//	0  u8   class
//	1  u8   options offered
//	2  u16  reserved, 0
//	4  u32  attempt: grows with each connection of one class and incarnation
//	8  u64  session
//	16 u64  incarnation: grows with each process that continues a session
//	24 u64  reserved, 0
type Greeting struct {
	Class       Class
	Options     Options
	Attempt     uint32
	Session     remote.SessionID
	Incarnation uint64
}

var errHello = fmt.Errorf("%w: malformed hello", remote.Protocol)

// Encode writes the greeting into b[:HelloSize].
func (g *Greeting) Encode(b []byte) {
	clear(b[:HelloSize])
	b[0], b[1] = byte(g.Class), byte(g.Options)
	binary.LittleEndian.PutUint32(b[4:], g.Attempt)
	binary.LittleEndian.PutUint64(b[8:], uint64(g.Session))
	binary.LittleEndian.PutUint64(b[16:], g.Incarnation)
}

// Decode reads the greeting; an error is of kind remote.Protocol.
func (g *Greeting) Decode(b []byte) error {
	if len(b) < HelloSize || b[0] >= Classes {
		return errHello
	}
	*g = Greeting{
		Class:       Class(b[0]),
		Options:     Options(b[1]),
		Attempt:     binary.LittleEndian.Uint32(b[4:]),
		Session:     remote.SessionID(binary.LittleEndian.Uint64(b[8:])),
		Incarnation: binary.LittleEndian.Uint64(b[16:]),
	}
	return nil
}

// Welcome is the body of the answer to HELLO:
//
//	0  u8   options agreed to
//	1  u8[7] reserved, 0
//	8  u64  instance of the monitor
//	16 u64  monitor id
type Welcome struct {
	Options  Options
	Instance remote.InstanceID
	Monitor  remote.MonitorID
}

// Encode writes the welcome into b[:WelcomeSize].
func (w *Welcome) Encode(b []byte) {
	clear(b[:WelcomeSize])
	b[0] = byte(w.Options)
	binary.LittleEndian.PutUint64(b[8:], uint64(w.Instance))
	binary.LittleEndian.PutUint64(b[16:], uint64(w.Monitor))
}

// Decode reads the welcome; an error is of kind remote.Protocol.
func (w *Welcome) Decode(b []byte) error {
	if len(b) < WelcomeSize {
		return errHello
	}
	*w = Welcome{
		Options:  Options(b[0]),
		Instance: remote.InstanceID(binary.LittleEndian.Uint64(b[8:])),
		Monitor:  remote.MonitorID(binary.LittleEndian.Uint64(b[16:])),
	}
	return nil
}
