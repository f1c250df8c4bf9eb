// Package report is the contract by which the init of a guest (guest/init)
// tells the host how the guest's command went. Both sides import it; it is
// pure, and does no I/O of its own.
//
// # The port
//
// The channel is a virtio-console port (virtio 1.2, section 5.3, multiport)
// named "splitvm.status". It needs no network and no file system, and carries
// lines of JSON, each ended by a newline.
//
// Guest to host, in this order, each at most once:
//
//	{"started":{"uptime_ms":812}}    the command is about to be executed
//	{"exit":3}                       it exited; 0 to 255
//	{"signal":9}                     or a signal killed it; 1 to 64
//	{"error":"mount root: ..."}      or the guest could not run it at all
//	{"error":"...","exit":127}       the same, with the exit status of shells: 127
//	                                 no such program, 126 not executable
//
// A line other than "started" is final: the guest has synced its disks and
// made its root read-only before it sends one, and powers off right after. A
// host that loses patience may kill the guest then without losing data. A
// guest which powers off without a final line ran no command under this init
// (it booted the init system of its disk), or its kernel died.
//
// Host to guest, at any time after "started":
//
//	{"kill":15}                      send this signal to the command
//
// # Without the port
//
// A guest that has no such port tells its final message by one 16-bit OUT to
// the I/O port 0xF4 (the customary place of QEMU's isa-debug-exit device, with
// iosize=2): the kind in the high byte (1 exit, 2 signal, 3 error), the exit
// status or signal in the low byte. The text of an error is then lost to the
// host, and is in the guest's kernel log only.
//
// # Trust
//
// The guest is not trusted: Decode and Scanner accept whatever comes, bound
// what they keep, and return errors. Text from the guest is stripped of control
// characters, so that it can be shown on a terminal.
package report

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// PortName is the name of the virtio-console port.
const PortName = "splitvm.status"

// IOPort is the x86 I/O port that takes a final message as 16 bits where there
// is no virtio-console port.
const IOPort = 0xF4

// Limits on what is taken from a guest.
const (
	MaxLine  = 4096 // bytes of a line, without its newline
	maxError = 1024 // bytes of an error's text that are kept
)

// Exit statuses that the host gives where the command's own is not known, as
// container runtimes do.
const (
	ExitFailed        = 125 // the guest could not run the command
	ExitNotExecutable = 126
	ExitNotFound      = 127
	signalBase        = 128 // a command killed by signal n exits 128+n
)

// ErrMalformed is wrapped by the errors of Decode, DecodePort and DecodeRequest.
var ErrMalformed = errors.New("malformed status message")

// Kind says what a Message tells.
type Kind uint8

// The kinds. Their numbers are the high byte of the I/O port's word.
const (
	Started  Kind = 0 // never sent through the I/O port
	Exited   Kind = 1
	Signaled Kind = 2
	Failed   Kind = 3
)

func (k Kind) String() string {
	switch k {
	case Started:
		return "started"
	case Exited:
		return "exited"
	case Signaled:
		return "killed by a signal"
	case Failed:
		return "failed"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Message is one message from the guest.
type Message struct {
	Kind   Kind
	Code   uint8         // exit status of Exited and Failed, signal of Signaled
	Reason string        // of Failed; one line, printable
	Uptime time.Duration // of Started: the guest kernel's age, in whole milliseconds
}

// Exit is the message of a command that exited with the status.
func Exit(status uint8) Message { return Message{Kind: Exited, Code: status} }

// Killed is the message of a command that a signal killed; sig is 1 to 64.
func Killed(sig uint8) Message { return Message{Kind: Signaled, Code: sig} }

// Failure is the message of a guest that could not run its command. The code
// is the exit status that the host is to give: ExitFailed, ExitNotFound or
// ExitNotExecutable.
func Failure(code uint8, reason string) Message {
	if code == 0 {
		code = ExitFailed // a failure never looks like a success
	}
	return Message{Kind: Failed, Code: code, Reason: printable(reason)}
}

// Start is the message of a command about to be executed.
func Start(uptime time.Duration) Message {
	return Message{Kind: Started, Uptime: uptime.Truncate(time.Millisecond)}
}

// Final tells whether no message follows m.
func (m Message) Final() bool { return m.Kind != Started }

// ExitStatus is the status that the host's process exits with for the final
// message m: the command's own, 128 and the signal, or that of a failure.
func (m Message) ExitStatus() int {
	if m.Kind == Signaled {
		return signalBase + int(m.Code)
	}
	return int(m.Code)
}

func (m Message) String() string {
	switch m.Kind {
	case Started:
		return fmt.Sprintf("command started, guest up for %v", m.Uptime)
	case Exited:
		return fmt.Sprintf("command exited with status %d", m.Code)
	case Signaled:
		return fmt.Sprintf("command killed by signal %d", m.Code)
	}
	return "guest could not run the command: " + m.Reason
}

// check tells whether m is one that a guest may send.
func (m Message) check() error {
	switch m.Kind {
	case Started, Exited, Failed:
		return nil
	case Signaled:
		if m.Code < 1 || m.Code > 64 {
			return fmt.Errorf("%w: signal %d", ErrMalformed, m.Code)
		}
		return nil
	}
	return fmt.Errorf("%w: kind %d", ErrMalformed, m.Kind)
}

// printable makes one bounded line of printable characters of s.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxError {
		s = strings.ToValidUTF8(s[:maxError], "")
	}
	return strings.TrimSpace(s)
}

// EncodePort gives the word that tells the final message m through IOPort.
func EncodePort(m Message) uint16 { return uint16(m.Kind)<<8 | uint16(m.Code) }

// DecodePort is the inverse of EncodePort, as far as the word goes. Its errors
// wrap ErrMalformed.
func DecodePort(word uint16) (Message, error) {
	m := Message{Kind: Kind(word >> 8), Code: uint8(word)}
	if err := m.check(); err != nil {
		return Message{}, err
	}
	switch m.Kind {
	case Started:
		return Message{}, fmt.Errorf("%w: word %#04x", ErrMalformed, word)
	case Failed:
		m.Reason = "the reason is in the guest's kernel log"
	}
	return m, nil
}
