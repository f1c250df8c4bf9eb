package memory

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/onesided"
)

// frame is the number of a frame in the slab, from 1; 0 is none.
type frame = uint32

// summed is the bit of frameMeta.state that says that sum is known; the bits
// below are the reference count.
const summed = 1 << 31

type frameMeta struct {
	state atomic.Uint32
	sum   uint32 // written before the frame is visible, immutable while it is
}

// slab is the physical memory.
type slab struct {
	mem   []byte   // immutable
	file  *os.File // of mem, if it is shared
	meta  []frameMeta
	limit int64        // lines that may be held
	held  atomic.Int64 // lines that are held, at most limit
	kick  chan struct{}
	// Warm frames above warmMost are given back to the kernel, down to warmKeep.
	warmMost, warmKeep int

	mu    sync.Mutex
	fresh frame   // the frames from here on were never used; guarded by mu
	clean []frame // guarded by mu
	warm  []frame // guarded by mu
}

// Bounds of the headroom, in frames: 8 MiB to 64 MiB.
const (
	minHeadroom = 2 << 10
	maxHeadroom = 16 << 10
)

// newSlab maps memory for limit lines and the headroom. The kernel backs it as
// it is used.
func newSlab(limit int64, cfg StoreConfig) (*slab, error) {
	if limit < 1 || limit > 1<<31 {
		return nil, fmt.Errorf("memory for %d lines: must be 1 to 2^31 (4 KiB to 8 TiB)", limit)
	}
	total := limit + min(max(limit/64, minHeadroom), maxHeadroom)
	fd, flags := -1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE
	var file *os.File
	if cfg.Share {
		var err error
		if file, err = onesided.NewFile("splitvm-lines", int(total)*remote.LineSize); err != nil {
			return nil, err
		}
		fd, flags = int(file.Fd()), unix.MAP_SHARED
	}
	mem, err := unix.Mmap(fd, 0, int(total)*remote.LineSize, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("map %d MiB for lines: %w", total>>8, err)
	}
	s := &slab{
		mem: mem, file: file, meta: make([]frameMeta, total+1), limit: limit, fresh: 1, kick: make(chan struct{}, 1),
		warmMost: 8 << 10, warmKeep: 4 << 10, // 32 MiB and 16 MiB
	}
	// Guest memory has no business in a core dump. Refused only by a kernel
	// without the feature.
	unix.Madvise(mem, unix.MADV_DONTDUMP)
	if cfg.Huge {
		if err := unix.Madvise(mem, unix.MADV_HUGEPAGE); err != nil {
			s.close()
			return nil, fmt.Errorf("huge pages for lines (transparent_hugepage must be madvise or always): %w", err)
		}
	}
	return s, nil
}

// close unmaps the memory; nobody may use it any more.
func (s *slab) close() error {
	s.file.Close()
	if err := unix.Munmap(s.mem); err != nil {
		return fmt.Errorf("unmap lines: %w", err)
	}
	return nil
}

// line returns the memory of a frame. Its capacity goes on into the frames
// behind, so that neighbours can be sent as one piece.
func (s *slab) line(f frame) []byte {
	at := int(f-1) * remote.LineSize
	return s.mem[at : at+remote.LineSize]
}

// take appends n free frames to dst, all of them zero, or none and false.
func (s *slab) take(dst []frame, n int) ([]frame, bool) {
	s.mu.Lock()
	unused := len(s.meta) - int(s.fresh)
	if len(s.warm)+len(s.clean)+unused < n {
		s.mu.Unlock()
		return dst, false
	}
	// Warm ones first: zeroing costs a tenth of what a page fault does.
	from := len(dst)
	dst, s.warm = pop(dst, s.warm, n)
	dirty := dst[from:]
	dst, s.clean = pop(dst, s.clean, n-len(dirty))
	for len(dst)-from < n {
		dst = append(dst, s.fresh)
		s.fresh++
	}
	s.mu.Unlock()
	for _, f := range dirty {
		clear(s.line(f))
	}
	return dst, true
}

// pop moves up to n frames from the end of list to dst.
func pop(dst, list []frame, n int) (newDst, rest []frame) {
	cut := len(list) - min(n, len(list))
	return append(dst, list[cut:]...), list[:cut]
}

// free takes frames back that may hold data.
func (s *slab) free(f []frame) {
	if len(f) == 0 {
		return
	}
	s.mu.Lock()
	s.warm = append(s.warm, f...)
	many := len(s.warm) > s.warmMost
	s.mu.Unlock()
	if many {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// unref drops a reference to f and tells whether it was the last.
func (s *slab) unref(f frame) bool {
	return s.meta[f].state.Add(^uint32(0))&^summed == 0
}

// charge counts n more lines as held, unless that exceeds the limit.
func (s *slab) charge(n int64) bool {
	if s.held.Add(n) > s.limit {
		s.held.Add(-n)
		return false
	}
	return true
}
