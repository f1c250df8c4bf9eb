package cache

import (
	"fmt"
	"time"
)

// Index says what is in the cache. It is not safe for concurrent use.
type Index struct {
	limit    int // blocks with content
	maxDirty int

	entries table
	held    int  // entries whose content takes memory
	dirty   list // not in the volume, oldest first
	clean   list // what may give way, next first
	epoch   uint64
	owed    map[uint64]int // by epoch: dirty and sending entries
	evicted []uint64
}

// entry is a block that is not absent, or has a hold.
type entry struct {
	block                    uint64
	held                     bool // its content takes memory, now or soon
	valid                    bool // clean, dirty, sending or both
	dirty, sending           bool
	filling, cancelled       bool // cancelled: a write came since
	recent                   bool // read since it was last looked at
	readers, writers, direct int
	epoch, sent              uint64 // in which it became dirty; the same of what is sent
	since                    time.Time

	in           *list
	before, next *entry
}

// New returns an empty index for so many blocks. Writers should wait while more than
// three quarters are dirty.
func New(blocks int) *Index {
	x := &Index{limit: blocks, maxDirty: blocks - blocks/4, entries: table{pages: map[uint64]*page{}}, owed: map[uint64]int{}}
	for _, l := range []*list{&x.dirty, &x.clean} {
		l.ring.before, l.ring.next = &l.ring, &l.ring
	}
	return x
}

// Limit returns how many blocks may take memory.
func (x *Index) Limit() int { return x.limit }

// Held returns how many blocks take memory.
func (x *Index) Held() int { return x.held }

// Dirty returns how many blocks wait to be sent.
func (x *Index) Dirty() int { return x.dirty.n }

// MaxDirty returns how many should.
func (x *Index) MaxDirty() int { return x.maxDirty }

// Evicted returns the blocks that gave way since the last call. Their content must go
// before any other is stored.
func (x *Index) Evicted() []uint64 {
	gone := x.evicted
	x.evicted = x.evicted[:0]
	return gone
}

// BeginRead looks a range of blocks up. If hit, all of them are in the cache, and are
// kept there until EndRead. If not, the volume must be asked: it lacks the blocks of
// newer, which are kept until EndRead; with keep, those of fill should be stored, and
// EndFill be called for each.
func (x *Index) BeginRead(first, n uint64, keep bool, newer, fill []uint64) (hit bool, newerThan, toFill []uint64) {
	for b := first; b < first+n; b++ {
		if e := x.entries.get(b); e == nil || !e.valid {
			newer, fill = x.miss(first, n, keep, newer, fill)
			return false, newer, fill
		}
	}
	for b := first; b < first+n; b++ {
		e := x.entries.get(b)
		e.readers++
		e.recent = true
	}
	return true, newer, fill
}

func (x *Index) miss(first, n uint64, keep bool, newer, fill []uint64) (newerThan, toFill []uint64) {
	for b := first; b < first+n; b++ {
		switch e := x.entries.get(b); {
		case e != nil && e.valid && (e.dirty || e.sending):
			e.readers++
			newer = append(newer, b)
		case e == nil && keep && x.room():
			e = x.add(b)
			x.hold(e)
			e.filling = true
			fill = append(fill, b)
		}
	}
	return newer, fill
}

// EndRead ends what BeginRead holds of a block.
func (x *Index) EndRead(b uint64) {
	e := x.entries.get(b)
	e.readers--
	x.tidy(e)
}

// EndFill ends the filling of a block; ok if what was read was stored, which no write
// does meanwhile. If it returns false, that content must go: it is not the newest.
func (x *Index) EndFill(b uint64, ok bool) (kept bool) {
	e := x.entries.get(b)
	kept = ok && !e.cancelled
	e.filling, e.cancelled = false, false
	if kept {
		e.valid = true
		x.rest(e)
	} else {
		x.release(e)
	}
	x.tidy(e)
	return kept
}

// BeginWrite is for each block that a write changes, all of it if whole. If it returns
// true the change goes to the cache, and EndWrite follows; else past it to the volume,
// and EndDirect follows.
func (x *Index) BeginWrite(b uint64, whole bool) (cached bool) {
	e := x.entries.get(b)
	if e == nil {
		e = x.add(b)
	}
	if !e.valid && !e.held && !e.filling && whole && x.room() {
		x.hold(e)
	}
	switch {
	case e.valid, e.held && !e.filling && whole:
		e.writers++
		return true
	case e.filling:
		e.cancelled = true
	}
	e.direct++
	return false
}

// EndWrite ends a write to the cache; ok if the content was stored. If it returns
// false, what was stored must go.
func (x *Index) EndWrite(b uint64, ok bool, now time.Time) (kept bool) {
	e := x.entries.get(b)
	e.writers--
	switch {
	case ok || e.valid: // of one that failed, some may be there
		e.valid = true
		x.soil(e, now)
	case e.writers == 0:
		x.release(e)
	}
	kept = e.held
	x.tidy(e)
	return kept
}

// EndDirect ends a change that went past the cache.
func (x *Index) EndDirect(b uint64) {
	e := x.entries.get(b)
	e.direct--
	x.tidy(e)
}

// Drop forgets a range of blocks, none of which has a hold or is being sent. Its
// content must go.
func (x *Index) Drop(first, n uint64) {
	for e := range x.entries.within(first, n) {
		x.drop(e)
	}
}

func (x *Index) drop(e *entry) {
	if e.readers+e.writers+e.direct > 0 || e.sending || e.filling {
		panic(fmt.Sprintf("cache: block %d is dropped while it is used: %+v", e.block, *e))
	}
	if e.dirty {
		x.pay(e.epoch)
	}
	e.valid, e.dirty = false, false
	x.release(e)
	x.tidy(e)
}

// Has tells whether a block's content is in the cache.
func (x *Index) Has(b uint64) bool {
	e := x.entries.get(b)
	return e != nil && e.valid
}

func (x *Index) add(b uint64) *entry {
	e := &entry{block: b}
	x.entries.add(e)
	return e
}

// hold makes an entry count.
func (x *Index) hold(e *entry) {
	e.held = true
	x.held++
}

// release is for one whose content goes.
func (x *Index) release(e *entry) {
	e.remove()
	if e.held {
		e.held = false
		x.held--
	}
}

// tidy forgets an entry that says nothing.
func (x *Index) tidy(e *entry) {
	if !e.held && !e.filling && e.readers+e.writers+e.direct == 0 {
		x.entries.remove(e)
	}
}

// evictAtOnce is how many blocks give way together.
const evictAtOnce = 64

// room makes room for a block, if it can.
func (x *Index) room() bool {
	if x.held < x.limit {
		return true
	}
	looks := 2 * x.clean.n // each once for its second chance
	for n := 0; x.clean.n > 0 && looks > 0 && n < min(evictAtOnce, 1+x.limit/8); looks-- {
		e := x.clean.first()
		if e.recent || e.readers+e.writers+e.direct > 0 {
			e.recent = false
			x.clean.push(e)
			continue
		}
		e.valid = false
		x.release(e)
		x.tidy(e)
		x.evicted = append(x.evicted, e.block)
		n++
	}
	return x.held < x.limit
}

// rest puts a block that may give way in its list.
func (x *Index) rest(e *entry) {
	if e.valid && !e.dirty && !e.sending {
		x.clean.push(e)
	}
}

// list is entries in a ring, in order, with one that is none between the last and the first.
type list struct {
	ring entry
	n    int
}

// first returns the first entry; nil if there is none.
func (l *list) first() *entry { return l.after(&l.ring) }

// after returns the entry behind another one of the list; nil behind the last.
func (l *list) after(e *entry) *entry {
	if e.next == &l.ring {
		return nil
	}
	return e.next
}

// push moves an entry to the end, and unshift to the front.
func (l *list) push(e *entry)    { l.insert(e, l.ring.before) }
func (l *list) unshift(e *entry) { l.insert(e, &l.ring) }

// insert moves an entry behind another one.
func (l *list) insert(e, behind *entry) {
	if e == behind {
		return
	}
	e.remove()
	e.in, e.before, e.next = l, behind, behind.next
	e.before.next, e.next.before = e, e
	l.n++
}

// remove takes an entry out of the list that it is in, if any.
func (e *entry) remove() {
	if e.in == nil {
		return
	}
	e.before.next, e.next.before = e.next, e.before
	e.in.n--
	e.in, e.before, e.next = nil, nil, nil
}
