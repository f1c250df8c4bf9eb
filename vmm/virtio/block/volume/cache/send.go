package cache

import "time"

// soil makes a block dirty, and a dirty one stays so.
func (x *Index) soil(e *entry, now time.Time) {
	if e.dirty {
		return
	}
	e.dirty, e.epoch, e.since = true, x.epoch, now
	x.owed[e.epoch]++
	x.dirty.push(e)
}

// pay takes note that a dirty block of an epoch is dirty no more.
func (x *Index) pay(epoch uint64) {
	if x.owed[epoch]--; x.owed[epoch] == 0 {
		delete(x.owed, epoch)
	}
}

// Cut ends an epoch and returns its number: a flush that begins now has to wait for
// the blocks that became dirty in it and before.
func (x *Index) Cut() uint64 {
	x.epoch++
	return x.epoch - 1
}

// Settled tells whether the volume has all that was dirty at the end of an epoch.
func (x *Index) Settled(epoch uint64) bool {
	for e := range x.owed {
		if e <= epoch {
			return false
		}
	}
	return true
}

// Oldest tells in which epoch, and when, the block became dirty that has waited
// longest; false if none is dirty.
func (x *Index) Oldest() (epoch uint64, since time.Time, ok bool) {
	e := x.dirty.first()
	if e == nil {
		return 0, time.Time{}, false
	}
	return e.epoch, e.since, true
}

// sendable tells whether a copy may be made of a block and sent.
func (e *entry) sendable() bool {
	return e != nil && e.dirty && !e.sending && e.writers+e.direct == 0
}

// Next takes up to most adjacent blocks to be sent, around the one that has waited
// longest; 0 if there is none that may be. A copy of their content must be made before
// the index is used again. Sent follows.
func (x *Index) Next(most uint64) (first, n uint64) {
	e := x.dirty.first()
	for e != nil && !e.sendable() {
		e = x.dirty.after(e)
	}
	if e == nil {
		return 0, 0
	}
	first, n = e.block, 1
	for n < most && x.entries.get(first+n).sendable() {
		n++
	}
	for n < most && first > 0 && x.entries.get(first-1).sendable() {
		first, n = first-1, n+1
	}
	for b := first; b < first+n; b++ {
		e := x.entries.get(b)
		e.remove()
		e.dirty, e.sending, e.sent = false, true, e.epoch
	}
	return first, n
}

// Sent ends the sending of blocks; ok if the volume has them. Those that it has not
// are dirty as before. It returns the oldest epoch of them.
func (x *Index) Sent(first, n uint64, ok bool) (oldest uint64) {
	oldest = ^uint64(0)
	for b := first; b < first+n; b++ {
		e := x.entries.get(b)
		e.sending = false
		oldest = min(oldest, e.sent)
		switch {
		case ok:
			x.pay(e.sent)
			x.rest(e)
			continue
		case e.dirty:
			x.pay(e.epoch)
		}
		e.dirty, e.epoch = true, e.sent
		x.dirty.unshift(e)
	}
	return oldest
}
