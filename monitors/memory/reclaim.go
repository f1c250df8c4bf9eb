package memory

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote"
)

// reclaimPause collects frees into larger batches: neighbours go back with one
// system call, each of which interrupts every processor that runs this process.
const reclaimPause = 20 * time.Millisecond

// reclaim gives surplus warm frames back to the kernel until ctx ends.
func (s *slab) reclaim(ctx context.Context) {
	for {
		select {
		case <-s.kick:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(reclaimPause):
		case <-ctx.Done():
			return
		}
		s.release()
	}
}

// release returns the surplus of warm frames to the kernel, in runs of
// neighbours. They belong to nobody meanwhile.
func (s *slab) release() {
	s.mu.Lock()
	var batch []frame
	if len(s.warm) > s.warmMost {
		// The oldest: the newest are the ones in the processor's caches.
		batch = slices.Clone(s.warm[:len(s.warm)-s.warmKeep])
		s.warm = append(s.warm[:0], s.warm[len(batch):]...)
	}
	s.mu.Unlock()
	slices.Sort(batch)
	for i := 0; i < len(batch); {
		j := i + 1
		for j < len(batch) && batch[j] == batch[j-1]+1 {
			j++
		}
		s.giveBack(batch[i:j])
		i = j
	}
}

// giveBack makes neighbouring frames clean.
func (s *slab) giveBack(run []frame) {
	from := int(run[0]-1) * remote.LineSize
	mem := s.mem[from : from+len(run)*remote.LineSize]
	advice := unix.MADV_DONTNEED
	if s.file != nil { // whose pages the mapping only refers to
		advice = unix.MADV_REMOVE
	}
	if err := unix.Madvise(mem, advice); err != nil {
		clear(mem) // locked memory, say: zero it is what matters
	}
	s.mu.Lock()
	s.clean = append(s.clean, run...)
	s.mu.Unlock()
}
