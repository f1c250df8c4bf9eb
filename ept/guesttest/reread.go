package guesttest

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"splitvm/ept"
	"splitvm/ept/handoff"
)

// fill writes a number to each page (those that are preloaded have theirs), and
// reads all, so that little of it is dirty afterwards.
func (g *guest) fill() {
	for p := g.Preload; p < g.Pages; p++ {
		store(g.mem, p*pageSize, uint64(p)+1)
	}
	g.readAll()
}

// readAll reads each page's number.
func (g *guest) readAll() {
	for p := range g.Pages {
		if v := load(g.mem, p*pageSize); v != uint64(p)+1 {
			g.wrong(p, v, uint64(p)+1)
		}
		g.result.Accesses++
	}
}

func (g *guest) wrong(p int, got, want uint64) {
	g.result.Bad++
	if g.result.First == "" {
		g.result.First = fmt.Sprintf("page %d: %#x, want %#x", p, got, want)
	}
}

// reread fills memory, comes to point "filled" and reads it again and again for
// Duration, and until enough pages were touched.
func (g *guest) reread() error {
	runtime.LockOSThread()
	g.fill()
	point("filled")
	for end := time.Now().Add(g.Duration); time.Now().Before(end) || g.result.Accesses < g.Least; {
		g.readAll()
	}
	return nil
}

// discard fills memory, gives up the second half, and finds zeroes there and
// everything else in place.
func (g *guest) discard(k *handoff.Keeper) error {
	runtime.LockOSThread()
	g.fill()
	point("filled")
	half := g.Pages / 2
	slot := g.slots()[1]
	if err := k.Discard(context.Background(), slot.GPA, slot.Size); err != nil {
		return err
	}
	point("discarded")
	for p := range half {
		if v := load(g.mem, p*pageSize); v != uint64(p)+1 {
			g.wrong(p, v, uint64(p)+1)
		}
	}
	for p := half; p < g.Pages; p++ {
		if v := load(g.mem, p*pageSize); v != 0 {
			g.wrong(p, v, 0)
		}
	}
	if err := k.Discard(context.Background(), ept.GPA(1<<40), pageSize); err == nil {
		return fmt.Errorf("discard of what isn't guest memory succeeded")
	}
	return nil
}

// sparse writes Ops pages spread over all of memory, and reads them twice.
func (g *guest) sparse() error {
	runtime.LockOSThread()
	step := g.Pages / g.Ops
	for p := 0; p < g.Pages; p += step {
		store(g.mem, p*pageSize+8, uint64(p)+1)
	}
	for range 2 {
		for p := 0; p < g.Pages; p += step {
			if v := load(g.mem, p*pageSize+8); v != uint64(p)+1 {
				g.wrong(p, v, uint64(p)+1)
			}
			g.result.Accesses++
		}
	}
	return nil
}
