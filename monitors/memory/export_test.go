package memory

import "time"

// MinHeadroom is for black-box tests.
const MinHeadroom = minHeadroom

// FreeFrames counts the frames that are neither held, filling nor detached.
func (s *Store) FreeFrames() int {
	n := 0
	for _, v := range *s.vregions.Load() {
		v.mu.Lock()
		n += len(v.spare)
		v.mu.Unlock()
	}
	s.slab.mu.Lock()
	defer s.slab.mu.Unlock()
	return n + len(s.slab.warm) + len(s.slab.clean) + len(s.slab.meta) - int(s.slab.fresh)
}

func waitTick() { time.Sleep(5 * time.Millisecond) }
