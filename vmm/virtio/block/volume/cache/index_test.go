package cache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is a guest, a volume and contents as numbers of writes, each greater than those
// before. The guest has many requests under way, but not two writes to one block.
type model struct {
	t   *testing.T
	rng *rand.Rand
	x   *Index

	last           int
	cached, volume map[uint64]int // contents
	written        map[uint64]int // by the newest write that was answered
	writing        map[uint64]bool
	open           []func() // the next step of each thing that is under way
	flushes        int
}

const modelBlocks = 24

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf(format, args...)
}

// evict checks that what gives way is in the volume.
func (m *model) evict() {
	for _, b := range m.x.Evicted() {
		if m.volume[b] < m.written[b] {
			m.fail("block %d gave way with write %d, the volume has %d", b, m.written[b], m.volume[b])
		}
		m.cached[b] = 0
	}
	if m.x.Held() > m.x.limit {
		m.fail("%d blocks are held, %d is the limit", m.x.Held(), m.x.limit)
	}
}

func (m *model) blocks() (first, n uint64) {
	n = 1 + m.rng.Uint64N(3)
	return m.rng.Uint64N(modelBlocks - n), n
}

func (m *model) begin(step func()) { m.open = append(m.open, step) }

func (m *model) read() {
	first, n := m.blocks()
	least := map[uint64]int{}
	for b := first; b < first+n; b++ {
		least[b] = m.written[b]
	}
	check := func(b uint64, got int) {
		if got < least[b] {
			m.fail("block %d was read as of write %d, %d was answered before", b, got, least[b])
		}
	}
	hit, newer, fill := m.x.BeginRead(first, n, m.rng.IntN(3) > 0, nil, nil)
	m.evict()
	if hit {
		m.begin(func() {
			for b := first; b < first+n; b++ {
				check(b, m.cached[b])
				m.x.EndRead(b)
			}
		})
		return
	}
	got := map[uint64]int{}
	m.begin(func() { // the volume reads
		for b := first; b < first+n; b++ {
			got[b] = m.volume[b]
		}
		m.begin(func() { // the answer is here
			for _, b := range newer {
				got[b] = m.cached[b]
			}
			for b := first; b < first+n; b++ {
				check(b, got[b])
			}
			m.begin(func() { // it is stored
				for _, b := range fill {
					m.cached[b] = got[b]
					if !m.x.EndFill(b, m.rng.IntN(10) > 0) {
						m.cached[b] = 0
					}
				}
				for _, b := range newer {
					m.x.EndRead(b)
				}
			})
		})
	})
}

func (m *model) write() {
	first, n := m.blocks()
	for b := first; b < first+n; b++ {
		if m.writing[b] {
			return
		}
	}
	m.last++
	version, left := m.last, n
	done := func(b uint64) {
		m.writing[b] = false
		m.written[b] = version
		left--
	}
	for b := first; b < first+n; b++ {
		m.writing[b] = true
		if m.x.BeginWrite(b, m.rng.IntN(4) > 0) {
			m.begin(func() {
				m.cached[b] = version
				m.begin(func() {
					m.x.EndWrite(b, true, time.Time{})
					done(b)
				})
			})
			continue
		}
		m.begin(func() {
			m.volume[b] = version
			m.begin(func() {
				m.x.EndDirect(b)
				done(b)
			})
		})
	}
	m.evict()
}

func (m *model) send() {
	first, n := m.x.Next(4)
	if n == 0 {
		return
	}
	copied := map[uint64]int{}
	for b := first; b < first+n; b++ {
		if m.writing[b] && m.cached[b] > m.written[b] {
			m.fail("block %d is sent in the middle of write %d", b, m.cached[b])
		}
		copied[b] = m.cached[b]
	}
	m.begin(func() {
		if m.rng.IntN(5) == 0 {
			m.x.Sent(first, n, false)
			return
		}
		for b, v := range copied {
			if v < m.volume[b] {
				m.fail("block %d of the volume goes back from write %d to %d", b, m.volume[b], v)
			}
			m.volume[b] = v
		}
		m.begin(func() { m.x.Sent(first, n, true) })
	})
}

func (m *model) flush() {
	due := map[uint64]int{}
	for b, v := range m.written {
		due[b] = v
	}
	epoch := m.x.Cut()
	m.flushes++
	var wait func()
	wait = func() {
		if !m.x.Settled(epoch) {
			m.begin(wait)
			return
		}
		m.flushes--
		for b, v := range due {
			if m.volume[b] < v {
				m.fail("a flush ends with write %d of block %d in the volume, %d was answered before it began", m.volume[b], b, v)
			}
		}
	}
	wait()
}

// drop is done with nothing under way, as its caller promises.
func (m *model) drop() {
	m.settle()
	first, n := m.blocks()
	m.x.Drop(first, n)
	m.last++
	for b := first; b < first+n; b++ {
		m.cached[b], m.volume[b], m.written[b] = 0, m.last, m.last
	}
}

// step goes on with one of the things that are under way.
func (m *model) step() {
	i := m.rng.IntN(len(m.open))
	next := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	next()
}

// settle ends all of them.
func (m *model) settle() {
	for len(m.open) > 0 {
		if m.step(); m.flushes > 0 {
			m.send()
		}
	}
}

// Any order of steps keeps what was written, and flushes what was answered.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			m := &model{t: t, rng: rng, x: New(1 + rng.IntN(modelBlocks+4)), cached: map[uint64]int{}, volume: map[uint64]int{},
				written: map[uint64]int{}, writing: map[uint64]bool{}}
			for range 3000 {
				switch n := rng.IntN(100); {
				case n < 50 && len(m.open) > 0 || len(m.open) > 40:
					m.step()
				case n < 70:
					m.read()
				case n < 87:
					m.write()
				case n < 97:
					m.send()
				case n < 99:
					m.flush()
				default:
					m.drop()
				}
			}
			m.settle()
			for m.x.Dirty() > 0 {
				m.send()
				m.settle()
			}
			for b, v := range m.written {
				if m.volume[b] != v {
					t.Errorf("block %d of the volume is as of write %d, %d was the last", b, m.volume[b], v)
				}
			}
			if len(m.x.owed) > 0 || m.x.entries.n != m.x.Held() || m.x.clean.n != m.x.Held() {
				t.Errorf("left: %d owed, %d entries, %d held, %d clean", len(m.x.owed), m.x.entries.n, m.x.Held(), m.x.clean.n)
			}
		})
	}
}
