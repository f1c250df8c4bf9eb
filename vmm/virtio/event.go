package virtio

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Event is an eventfd: KVM's ioeventfds signal it and a worker waits on it.
type Event struct {
	fd int
}

// NewEvent makes an event that is not signalled.
func NewEvent() (*Event, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an event: eventfd: %w", err)
	}
	return &Event{fd: fd}, nil
}

// FD is the eventfd, in blocking mode, for KVM or a poll(2) set. It is valid
// until Close.
func (e *Event) FD() int { return e.fd }

// Signal wakes one Wait, now or the next.
func (e *Event) Signal() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	for {
		if _, err := unix.Write(e.fd, one[:]); err != unix.EINTR {
			return // a counter about to overflow is signalled anyhow
		}
	}
}

// Wait sleeps until the event is signalled and takes the signal.
func (e *Event) Wait() error {
	var n [8]byte
	for {
		switch _, err := unix.Read(e.fd, n[:]); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("wait for an event: %w", err)
		}
	}
}

// Clear takes the signal if there is one, without waiting.
func (e *Event) Clear() error {
	p := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("clear an event: poll: %w", err)
		}
		if n == 0 {
			return nil
		}
		return e.Wait()
	}
}

// Close ends the event; nobody may be waiting.
func (e *Event) Close() error { return unix.Close(e.fd) }
