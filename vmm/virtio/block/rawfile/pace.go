package rawfile

import (
	"sync/atomic"
	"time"
)

const (
	// inPlaceMax bounds what one request may copy on a queue's worker, in bytes.
	inPlaceMax = 256 << 10
	// slow is a request that was more than copying, at slowCopy: the file system
	// waited for its journal, or for dirty pages to be written.
	slow = time.Millisecond
	// slowCopy is what a request is given for each KiB on top: 64 MiB/s, a tenth of
	// what an emulated CPU copies.
	slowCopy = time.Second / (64 << 10)
	// penalty is how many requests go to the pool after a slow one.
	penalty = 64
)

// pace decides whether requests that may block are done in place. It is pure
// but for being shared by the queues' workers.
type pace struct {
	debt atomic.Int32 // requests still to go to the pool
}

// allows tells whether the next request may be done in place.
func (p *pace) allows() bool {
	if p.debt.Load() <= 0 {
		return true
	}
	p.debt.Add(-1)
	return false
}

// took is told how long a request of length bytes in place took.
func (p *pace) took(d time.Duration, length uint64) {
	if d > slow+time.Duration(length>>10)*slowCopy {
		p.debt.Store(penalty)
	}
}
