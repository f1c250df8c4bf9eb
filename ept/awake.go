package ept

import (
	"sync/atomic"
	"time"
)

// awake measures how long something waits, without the time in which this process
// did not run: its host was suspended, or it was stopped. What monitors and
// guests did meanwhile is nobody's fault. The watchdog ticks it.
type awake struct {
	start         time.Time    // immutable after begin
	last, resumed atomic.Int64 // since start: the latest tick, and the latest after a gap
}

func (a *awake) begin() { a.start = time.Now() }

// tick notes that the process runs, and whether it did not for longer than grace.
func (a *awake) tick() {
	now := int64(time.Since(a.start))
	if now-a.last.Swap(now) > int64(grace) {
		a.resumed.Store(now)
	}
}

// since is when a wait began, as far as it counts.
func (a *awake) since(began time.Time) time.Time {
	if resumed := a.start.Add(time.Duration(a.resumed.Load())); resumed.After(began) {
		return resumed
	}
	return began
}

// waited is how long a wait that began then has taken. It is nothing while the gap
// that is just over was not noticed yet.
func (a *awake) waited(began time.Time) time.Duration {
	if time.Since(a.start)-time.Duration(a.last.Load()) > grace {
		return 0
	}
	return time.Since(a.since(began))
}
