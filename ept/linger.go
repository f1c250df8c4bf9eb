package ept

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/ept/uffd"
)

// A vCPU that walks through memory that is elsewhere faults again a few microseconds after it
// was woken. To wake the fault thread for that takes longer than the vCPU took, so the thread
// that woke the vCPU waits for the next fault by polling, for lingerTime at most, if that has
// mostly been worth it, nothing else is under way, and the evictor doesn't want the CPU.
const (
	lingerTime = 12 * time.Microsecond
	// faultThreadTime is how long a fault thread may take to wake; see soon.
	faultThreadTime = 8 * time.Microsecond
)

// lingering is what a shard has for it.
type lingering struct {
	woke  atomic.Int64 // when a vCPU was woken last, in nanoseconds after lingerSince; 0: its next fault was seen
	taken atomic.Int32 // events that were read and wait for their turn
	bet   bet

	mu     sync.Mutex // of who polls
	reader *uffd.Reader
}

var lingerSince = time.Now()

// linger waits for the next fault of a vCPU that was just woken.
func (sh *shard) linger(woken time.Time) {
	p := sh.pager
	g := &sh.lingering
	g.woke.Store(int64(woken.Sub(lingerSince)))
	if !g.bet.on() || g.taken.Load() > 0 || p.evictor.busy.Load() || !p.outstanding.none() || !g.mu.TryLock() {
		return
	}
	defer g.mu.Unlock()
	for time.Since(woken) < lingerTime {
		events, err := g.reader.TryRead()
		if err != nil {
			return // the fault thread gets it, too
		}
		if len(events) > 0 {
			g.bet.ended(true)
			p.stats.Polled.Add(1)
			sh.take(events, time.Now())
			return
		}
	}
	g.bet.ended(false)
}

// soon tells, while nobody polls, whether that would have been worth it: of a fault that was read
// by the fault thread.
func (sh *shard) soon(read time.Time) {
	if woke := sh.lingering.woke.Swap(0); woke != 0 && !sh.lingering.bet.on() {
		sh.lingering.bet.ended(int64(read.Sub(lingerSince))-woke < int64(lingerTime+faultThreadTime))
	}
}

// bet tells whether what ended well before will do so again: from three of four in a
// window on, until fewer do; then not for a while, as what was on its way by itself may
// be late because of it, where the one who waits has the CPU.
type bet struct {
	state atomic.Int32 // above 0: on; else windows to come until it may be

	mu      sync.Mutex
	n, well int
}

const (
	betWindow = 64
	betRest   = 16 // windows
)

func (b *bet) on() bool { return b.state.Load() > 0 }

// ended counts an end.
func (b *bet) ended(well bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n++; well {
		b.well++
	}
	if b.n < betWindow {
		return
	}
	good := b.well >= betWindow/4*3
	b.n, b.well = 0, 0
	switch state := b.state.Load(); {
	case state < 0:
		b.state.Add(1)
	case good && runtime.NumCPU() > 1:
		b.state.Store(1)
	case state > 0:
		b.state.Store(-betRest)
	}
}
