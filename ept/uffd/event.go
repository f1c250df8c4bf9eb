package uffd

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Event is a page fault. The thread that took it sleeps until a page is mapped
// at the address by one of the File's methods, or it is woken.
type Event struct {
	Addr  uint64 // of the page, in the memory of the process that registered it
	Write bool   // the access is a write
	WP    bool   // to a page that is there, and write-protected
	Minor bool   // the page is there, but not mapped
	// Thread is the id of the thread, in its own namespace; 0 without FeatureThreadID.
	Thread uint32
}

// The kernel's struct uffd_msg: u8 event at 0; for a page fault u64 flags at 8,
// u64 address at 16, u32 thread at 24.
const (
	messageSize    = 32
	eventPagefault = 0x12
	flagWrite      = 1 << 0
	flagWP         = 1 << 1
	flagMinor      = 1 << 2
)

// MaxEvents is how many events one ReadEvents can return.
const MaxEvents = 64

// Reader reads events in batches. It isn't safe for concurrent use; there may
// be several for one File.
type Reader struct {
	file   *File
	raw    [MaxEvents * messageSize]byte
	events [MaxEvents]Event
	vec    [1][]byte // raw, for TryRead
}

// NewReader returns a reader of f's events.
func NewReader(f *File) *Reader {
	r := &Reader{file: f}
	r.vec[0] = r.raw[:]
	return r
}

// Read returns the events that are queued, in the order of the kernel's queue,
// none if there are none. It doesn't block unless the File is set to: then it
// blocks the thread, not just the goroutine. The slice is valid until the next call.
func (r *Reader) Read() ([]Event, error) {
	n, err := unix.Read(r.file.fd, r.raw[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("read userfaultfd events", err)
	}
	return decode(r.raw[:n], r.events[:0])
}

// TryRead is Read that doesn't block, whatever the File is set to.
func (r *Reader) TryRead() ([]Event, error) {
	n, err := unix.Preadv2(r.file.fd, r.vec[:], -1, unix.RWF_NOWAIT)
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("read userfaultfd events", err)
	}
	return decode(r.raw[:n], r.events[:0])
}

// decode appends the events in raw to events.
func decode(raw []byte, events []Event) ([]Event, error) {
	if len(raw)%messageSize != 0 {
		return nil, fmt.Errorf("read userfaultfd events: %d bytes are no whole number of messages", len(raw))
	}
	for ; len(raw) > 0; raw = raw[messageSize:] {
		if raw[0] != eventPagefault {
			return nil, fmt.Errorf("userfaultfd event %#x, which was not asked for", raw[0])
		}
		flags := binary.LittleEndian.Uint64(raw[8:])
		events = append(events, Event{
			Addr:  binary.LittleEndian.Uint64(raw[16:]) &^ 0xfff,
			Write: flags&flagWrite != 0,
			WP:    flags&flagWP != 0,
			Minor: flags&flagMinor != 0,

			Thread: binary.LittleEndian.Uint32(raw[24:]),
		})
	}
	return events, nil
}
