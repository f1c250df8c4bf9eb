package layer

import "sync/atomic"

// maxPages bounds the entries that a layer keeps in memory: those of 1 GiB, 5 MiB.
const maxPages = 1024

// pages keeps entries in memory, by pages of the map, so that a request makes no
// system call for them. A stripe's page has one place, where a page that is wanted
// twice in a row takes over from the one that is there. Who uses a page or puts it
// there holds its stripe.
type pages []pagePlace

type pagePlace struct {
	page   atomic.Pointer[page]
	wanted atomic.Uint64 // the stripe that was last wanted in vain
}

// page is the entries of a stripe, as they are in the map.
type page struct {
	stripe uint64
	raw    [stripeSize * entrySize]byte
}

func newPages(blocks uint64) pages {
	return make(pages, min(max(blocks/stripeSize, 1), maxPages))
}

func (p pages) place(stripe uint64) *pagePlace { return &p[stripe%uint64(len(p))] }

// find returns the entries of the stripe; nil if they are not there.
func (p pages) find(stripe uint64) *page {
	if have := p.place(stripe).page.Load(); have != nil && have.stripe == stripe {
		return have
	}
	return nil
}

// want tells whether a stripe that was not found should be kept.
func (p pages) want(stripe uint64) bool {
	place := p.place(stripe)
	return place.page.Load() == nil || place.wanted.Swap(stripe) == stripe
}

// keep puts the page to where find finds it.
func (p pages) keep(have *page) { p.place(have.stripe).page.Store(have) }

// drop forgets the stripe's page.
func (p pages) drop(stripe uint64) {
	if p.find(stripe) != nil {
		p.place(stripe).page.Store(nil)
	}
}
