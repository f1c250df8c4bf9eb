package cache

import "iter"

// table finds entries by block. Requests are for blocks next to each other, so that
// the page of the last one mostly has the next.
type table struct {
	pages map[uint64]*page // by the blocks' number divided by pageBlocks
	last  *page
	n     int
}

const pageBlocks = 64

// page is the entries of adjacent blocks.
type page struct {
	key     uint64
	n       int
	entries [pageBlocks]*entry
}

func (t *table) page(key uint64) *page {
	if t.last == nil || t.last.key != key {
		p := t.pages[key]
		if p == nil {
			return nil
		}
		t.last = p
	}
	return t.last
}

func (t *table) get(b uint64) *entry {
	if p := t.page(b / pageBlocks); p != nil {
		return p.entries[b%pageBlocks]
	}
	return nil
}

// add adds an entry for a block that has none.
func (t *table) add(e *entry) {
	key := e.block / pageBlocks
	p := t.page(key)
	if p == nil {
		p = &page{key: key}
		t.pages[key], t.last = p, p
	}
	p.entries[e.block%pageBlocks] = e
	p.n++
	t.n++
}

// remove takes an entry out that is there.
func (t *table) remove(e *entry) {
	p := t.page(e.block / pageBlocks)
	p.entries[e.block%pageBlocks] = nil
	t.n--
	if p.n--; p.n == 0 {
		delete(t.pages, p.key)
		t.last = nil
	}
}

// within is the entries of a range, in no order. They may be removed meanwhile.
func (t *table) within(first, n uint64) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		pages := func(yield func(*page) bool) {
			from, to := first/pageBlocks, (first+n-1)/pageBlocks
			if to-from < uint64(len(t.pages)) {
				for key := from; key <= to; key++ {
					if p := t.pages[key]; p != nil && !yield(p) {
						return
					}
				}
				return
			}
			for _, p := range t.pages {
				if !yield(p) {
					return
				}
			}
		}
		for p := range pages {
			for _, e := range p.entries {
				if e != nil && e.block >= first && e.block-first < n && !yield(e) {
					return
				}
			}
		}
	}
}
