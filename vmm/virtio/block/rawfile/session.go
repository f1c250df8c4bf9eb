package rawfile

import (
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/rawfile/uring"
)

// ringSize is how many transfers of a queue are in the kernel's hands; more go
// to the pool.
const ringSize = 256

// session is one queue's way to the disk.
type session struct {
	*Disk
	kick *virtio.Event
	ring *uring.Ring[*block.Request] // nil where io_uring isn't there
}

// Begin implements block.Backend.
func (d *Disk) Begin(kick *virtio.Event) block.Session {
	s := &session{Disk: d, kick: kick}
	if d.noRing.Load() {
		return s
	}
	var err error
	if s.ring, err = uring.New(ringSize, kick.FD(), s.ended); err != nil {
		s.ring = nil
		if !d.noRing.Swap(true) {
			slog.Debug("disk goes without io_uring", "disk", d.name, "error", err)
		}
	}
	return s
}

// Submit implements block.Session. What the page cache can answer is done in
// place, transfers that may wait for a device go to an io_uring if there is
// one, and the rest to the pool.
func (s *session) Submit(r *block.Request) (done bool, err error) {
	switch {
	case r.Op == block.OpRead && s.readNow(r):
		return true, nil
	case s.inPlace(r):
		err := s.pace.run(r.Length, func() error { return s.do(r) })
		return true, s.explain(r, err)
	case s.queue(r):
		return false, nil
	}
	s.pool.submit(r)
	return false, nil
}

// Commit implements block.Session.
func (s *session) Commit() error {
	if s.ring == nil {
		return nil
	}
	return s.ring.Collect()
}

// Wait implements block.Session. With nothing in the kernel's hands a plain
// read of the eventfd is the cheapest sleep.
func (s *session) Wait() error {
	if s.ring == nil || s.ring.InFlight() == 0 {
		return s.kick.Wait()
	}
	return s.ring.Wait()
}

// Close implements block.Session.
func (s *session) Close() error {
	if s.ring == nil {
		return nil
	}
	return s.ring.Close()
}

// readNow reads what is in the page cache; false if that was not all, or the
// file can't tell.
func (s *session) readNow(r *block.Request) bool {
	if s.direct || s.noNowait.Load() || len(r.Memory) > maxVectors {
		return false
	}
	n, err := unix.Preadv2(s.fd, r.Memory, int64(r.Offset), unix.RWF_NOWAIT)
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		s.noNowait.Store(true)
	}
	return err == nil && uint64(n) == r.Length
}

// queue gives a transfer to the ring; false if it isn't one for that, or there
// is no room. A write holds partial until it has ended.
func (s *session) queue(r *block.Request) bool {
	if s.ring == nil || len(r.Memory) > maxVectors || !s.align.holds(r) {
		return false
	}
	switch {
	case r.Op == block.OpRead:
		return s.ring.Read(r, s.fd, r.Memory, r.Offset)
	case r.Op == block.OpWrite && s.direct && !r.Durable && s.partial.TryRLock():
		if s.ring.Write(r, s.fd, r.Memory, r.Offset) {
			return true
		}
		s.partial.RUnlock()
	}
	return false
}

// ended is what the ring calls. A transfer that was cut short is done again
// from the start, by the pool.
func (s *session) ended(r *block.Request, n int, err error) {
	if r.Op == block.OpWrite {
		s.partial.RUnlock()
	}
	switch {
	case err == nil && uint64(n) == r.Length:
		r.Finish(nil)
	case err == nil && n == 0 && r.Op == block.OpRead:
		r.Finish(s.explain(r, io.ErrUnexpectedEOF))
	case err == nil || err == unix.EINTR || err == unix.EAGAIN:
		s.pool.submit(r)
	default:
		r.Finish(s.explain(r, fmt.Errorf("io_uring: %w", err)))
	}
}
