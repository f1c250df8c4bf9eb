//go:build amd64

package micro

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"splitvm/ept/uffd"
	"splitvm/guest/bare"
)

// floorPart serves a guest's faults until it hangs up.
func floorPart(ctx context.Context, socket int) error {
	// Two threads that block in system calls must not wait for a P.
	runtime.GOMAXPROCS(runtime.NumCPU() + 4)
	conn, err := connOf(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	h := &handler{wake: make(chan struct{}, 1)}
	fds, err := receiveSetup(conn, &h.setup, 2)
	if err != nil {
		return err
	}
	h.memfd = fds[0]
	if h.faults, err = uffd.FromFD(fds[1]); err != nil {
		return err
	}
	return h.serve(ctx, conn)
}

// handler is the floor's pager: a queue of resident lines, oldest first.
type handler struct {
	setup  floorSetup
	memfd  int
	faults *uffd.File
	wake   chan struct{} // tells the evictor of work; holds one
	misses atomic.Uint64

	mu       sync.Mutex
	resident []uint64 // addresses in the order of their faults; guarded by mu
}

// serve answers questions on conn while two threads serve faults and evict.
func (h *handler) serve(ctx context.Context, conn *net.UnixConn) error {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	defer unix.Close(stop)
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	var serveErr, evictErr error
	done.Go(func() { serveErr = h.serveFaults(stop); conn.Close() })
	done.Go(func() { evictErr = h.evictor(ctx); conn.Close() })
	h.answer(conn)
	cancel()
	one := [8]byte{1}
	_, err = unix.Write(stop, one[:])
	done.Wait()
	return errors.Join(err, serveErr, evictErr)
}

// answer tells the number of misses for each byte, until the guest hangs up.
func (h *handler) answer(conn *net.UnixConn) {
	var b [1]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
		if _, err := conn.Write(binary.LittleEndian.AppendUint64(nil, h.misses.Load())); err != nil {
			return
		}
	}
}

func (h *handler) serveFaults(stop int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	resolve := h.resolve
	if h.setup.Model {
		resolve = newModel(h).resolve
	}
	reader := uffd.NewReader(h.faults)
	for {
		if stopped, err := h.faults.Wait(stop); stopped || err != nil {
			return err
		}
		events, err := reader.Read()
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := resolve(e); err != nil {
				return err
			}
		}
	}
}

// resolve maps a zero page, or the page that is there already but not mapped.
func (h *handler) resolve(e uffd.Event) error {
	addr, fill := e.Addr, h.faults.Zeropage
	if e.Minor {
		fill = h.faults.Continue
	}
	_, err := fill(addr, bare.LineSize, 0)
	switch {
	case errors.Is(err, unix.EEXIST): // another vCPU's fault brought it
		return h.faults.Wake(addr, bare.LineSize)
	case errors.Is(err, unix.EAGAIN): // the guest's mappings change: it faults again
		return h.faults.Wake(addr, bare.LineSize)
	case err != nil:
		return err
	case e.Minor: // it is resident, and counted
		return nil
	}
	h.misses.Add(1)
	h.mu.Lock()
	h.resident = append(h.resident, addr)
	n := uint64(len(h.resident))
	h.mu.Unlock()
	if n > h.high() {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
	if n < h.setup.Lines {
		return nil
	}
	return h.evict(1) // the evictor is late
}

// evictBatch is how many lines leave in one go.
const evictBatch = 64

// high is how many lines wake the evictor: so that a batch is free ahead of
// the faults, where the cache is not tiny.
func (h *handler) high() uint64 { return h.setup.Lines - min(h.setup.Lines/8, 2*evictBatch) }

func (h *handler) evictor(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		}
		for h.count() > h.high() {
			if err := h.evict(evictBatch); err != nil {
				return err
			}
		}
	}
}

func (h *handler) count() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(len(h.resident))
}

// evict punches the n oldest lines out of the memfd, neighbours together.
func (h *handler) evict(n int) error {
	h.mu.Lock()
	n = min(n, len(h.resident))
	var batch [evictBatch]uint64
	copy(batch[:], h.resident[:n])
	h.resident = h.resident[n:]
	h.mu.Unlock()
	for i := 0; i < n; {
		j := i + 1
		for j < n && batch[j] == batch[j-1]+bare.LineSize {
			j++
		}
		if err := h.punch(batch[i], uint64(j-i)*bare.LineSize); err != nil {
			return err
		}
		i = j
	}
	return nil
}

func (h *handler) punch(addr, size uint64) error {
	for _, s := range h.setup.Stretches {
		if off := addr - s.Addr; off < s.Size {
			return unix.Fallocate(h.memfd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s.Offset+int64(off), int64(size))
		}
	}
	return fmt.Errorf("line %#x is in no stretch", addr)
}
