package net

import (
	"fmt"

	"splitvm/vmm/memory"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// maxViews is how many views the stock may have in all for one system call to
// take (UIO_MAXIOV of Linux's uio.h, 1024), with one to spare.
const maxViews = 1024 - 1

// stock is the chains of a receive queue that are popped and not yet used,
// oldest first, with views of all of their memory in the same order.
type stock struct {
	queue  *virtio.Queue
	chains []*virtq.Chain
	counts []int // views of each chain
	views  [][]byte
	bytes  uint64
	lens   []uint32       // for use
	spare  []*virtq.Chain // used before, to be popped into again
}

// fill pops until the stock has the given number of bytes, or the driver has
// no more.
func (s *stock) fill(bytes uint64) error {
	for s.bytes < bytes || len(s.chains) == 0 {
		if got, err := s.add(); !got || err != nil {
			return err
		}
	}
	return nil
}

func (s *stock) add() (bool, error) {
	c := &virtq.Chain{}
	if n := len(s.spare); n > 0 {
		c, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	got, err := s.queue.Pop(c)
	if !got || err != nil {
		s.spare = append(s.spare, c)
		return false, err
	}
	before := len(s.views)
	if s.views, err = c.AppendWritable(s.views, 0, c.WritableLen()); err != nil {
		return false, fmt.Errorf("receive buffer: %w", err)
	}
	if c.WritableLen() < HeaderSize || len(s.views) > maxViews {
		return false, fmt.Errorf("%w: a receive buffer of %d bytes in %d pieces", virtq.ErrBroken, c.WritableLen(), len(s.views)-before)
	}
	s.chains, s.counts = append(s.chains, c), append(s.counts, len(s.views)-before)
	s.bytes += uint64(c.WritableLen())
	return true, nil
}

// cover is how many chains n bytes take.
func (s *stock) cover(n int) int {
	i := 0
	for ; n > 0; i++ {
		n -= int(s.chains[i].WritableLen())
	}
	return i
}

// write puts p into the first chains.
func (s *stock) write(m *memory.Memory, p []byte) error {
	for _, c := range s.chains {
		for _, span := range c.Writable {
			k := min(len(p), int(span.Len))
			if k == 0 {
				return nil
			}
			if err := m.WriteAt(p[:k], span.GPA); err != nil {
				return fmt.Errorf("receive buffer: %w", err)
			}
			p = p[k:]
		}
	}
	return nil
}

// use gives the first chains back, all at once, with n bytes in them.
func (s *stock) use(chains, n int) {
	s.lens = s.lens[:0]
	views := 0
	for i, c := range s.chains[:chains] {
		k := min(n, int(c.WritableLen()))
		s.lens = append(s.lens, uint32(k))
		n -= k
		s.bytes -= uint64(c.WritableLen())
		views += s.counts[i]
	}
	s.queue.PushBatch(s.chains[:chains], s.lens)
	s.spare = append(s.spare, s.chains[:chains]...)
	s.chains = s.chains[:copy(s.chains, s.chains[chains:])]
	s.counts = s.counts[:copy(s.counts, s.counts[chains:])]
	s.views = s.views[:copy(s.views, s.views[views:])]
}
