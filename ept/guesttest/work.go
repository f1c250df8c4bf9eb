package guesttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/handoff"
)

// Each page's words say which write they are of: page and version, in the
// first, a middle and the last word. An odd version, and a page that was never
// written, are all zero.
var offsets = [...]int{0, 8, 2048, pageSize - 8}

const sharedEvery = 64 // each so many pages one is a counter of all threads

func pattern(page int, version uint64, off int) uint64 {
	if version == 0 || version&1 != 0 {
		return 0
	}
	return uint64(page)<<40 ^ version<<10 ^ uint64(off>>3)
}

// verifier is one thread of the verifying work: it alone uses the pages that are
// its number modulo the threads.
type verifier struct {
	*guest
	id       int
	rng      *rand.Rand
	versions []uint64 // by page / threads
	adds     *atomic.Uint64
	touched  *atomic.Uint64 // by all threads, as far as they have told
	told     uint64         // of done
	bad      int
	first    string
	done     uint64
}

func (g *guest) verify(k *handoff.Keeper) error {
	var wg sync.WaitGroup
	var adds, touched atomic.Uint64
	stop := make(chan struct{})
	if g.Duration > 0 {
		time.AfterFunc(g.Duration, func() {
			for touched.Load() < g.Least || k.Restarts()+1 < g.Pagers {
				time.Sleep(time.Millisecond)
			}
			close(stop)
		})
	}
	trouble := make(chan struct{})
	var troubles sync.WaitGroup
	troubles.Go(func() { g.resizes(k, trouble) })
	troubles.Go(func() { g.kills(k, trouble) })
	threads := make([]*verifier, g.Threads)
	for i := range threads {
		v := &verifier{guest: g, id: i, rng: rand.New(rand.NewPCG(g.Seed, uint64(i))), adds: &adds, touched: &touched,
			versions: make([]uint64, g.Pages/g.Threads+1)}
		threads[i] = v
		wg.Go(func() {
			runtime.LockOSThread()
			v.run(stop)
		})
	}
	wg.Wait()
	close(trouble)
	troubles.Wait()
	for _, v := range threads {
		v.all()
		g.result.Bad += v.bad
		g.result.Accesses += v.done
		if g.result.First == "" {
			g.result.First = v.first
		}
	}
	g.checkCounters(adds.Load())
	return nil
}

// resizes goes through the sizes until the work ends.
func (g *guest) resizes(k *handoff.Keeper, stop <-chan struct{}) {
	if len(g.Resize) == 0 {
		return
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(g.Every):
		}
		k.Resize(context.Background(), g.Resize[i%len(g.Resize)])
	}
}

// kills kills pager after pager until the work ends.
func (g *guest) kills(k *handoff.Keeper, stop <-chan struct{}) {
	if g.KillEvery == 0 {
		return
	}
	rng := rand.New(rand.NewPCG(g.Seed, 99))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.Int64N(2 * int64(g.KillEvery)))):
		}
		unix.Kill(k.Session().Ready.PID, unix.SIGKILL)
	}
}

func (v *verifier) run(stop <-chan struct{}) {
	for i := 0; v.Ops == 0 || i < v.Ops; i++ {
		if i%256 == 0 {
			v.touched.Add(v.done - v.told)
			v.told = v.done
			select {
			case <-stop:
				return
			default:
			}
		}
		v.access()
	}
}

// access touches a random page; a quarter of the accesses are in runs.
func (v *verifier) access() {
	page := v.rng.IntN(v.Pages)
	run := 1
	if v.rng.IntN(64) == 0 {
		run = v.rng.IntN(64)
	}
	for p := page; p < min(page+run, v.Pages); p++ {
		v.done++
		switch {
		case p%sharedEvery == 0:
			add(v.mem, p*pageSize, 1)
			v.adds.Add(1)
		case p%v.Threads == v.id:
			v.check(p)
			if v.rng.IntN(100) < v.Writes {
				v.write(p)
			}
		}
	}
}

func (v *verifier) check(p int) {
	version := v.versions[p/v.Threads]
	for _, off := range offsets {
		if got, want := load(v.mem, p*pageSize+off), pattern(p, version, off); got != want {
			v.bad++
			if v.first == "" {
				v.first = fmt.Sprintf("page %d offset %d: %#x, want %#x (version %d)", p, off, got, want, version)
			}
		}
	}
}

// write makes the next version of a page; now and then that is all zeroes.
func (v *verifier) write(p int) {
	version := &v.versions[p/v.Threads]
	*version = (*version>>1 + 1) << 1
	if v.rng.IntN(16) == 0 {
		*version |= 1
	}
	for _, off := range offsets {
		store(v.mem, p*pageSize+off, pattern(p, *version, off))
	}
}

// all checks every page of the thread.
func (v *verifier) all() {
	for p := range v.Pages {
		if p%sharedEvery != 0 && p%v.Threads == v.id {
			v.check(p)
		}
	}
}

// checkCounters adds up the shared counters.
func (g *guest) checkCounters(want uint64) {
	sum := uint64(0)
	for p := 0; p < g.Pages; p += sharedEvery {
		sum += load(g.mem, p*pageSize)
	}
	if sum != want {
		g.result.Bad++
		g.result.First = fmt.Sprintf("shared counters add up to %d, want %d", sum, want)
	}
}

// pass goes through memory in order, Passes times, and times each pass. With
// Writes it adds to a word of each page, else it reads.
func (g *guest) pass() error {
	runtime.LockOSThread()
	for n := range g.Passes {
		start := time.Now()
		for p := range g.Pages {
			if g.Writes > 0 {
				add(g.mem, p*pageSize, uint64(p))
			} else if v := load(g.mem, p*pageSize); v != 0 {
				g.result.Bad++
			}
		}
		g.result.Passes = append(g.result.Passes, int64(time.Since(start))/int64(g.Pages))
		if g.Writes > 0 {
			for p := range min(g.Pages, 8) {
				if v := load(g.mem, p*pageSize); v != uint64(p)*uint64(n+1) {
					g.result.Bad++
				}
			}
		}
	}
	return nil
}

// random fills memory, then times Ops accesses to random pages one by one.
func (g *guest) random() error {
	runtime.LockOSThread()
	for p := range g.Pages {
		store(g.mem, p*pageSize, uint64(p))
	}
	rng := rand.New(rand.NewPCG(g.Seed, 1))
	g.result.Samples = make([]int64, g.Ops)
	begin := time.Now()
	for i := range g.Ops {
		p := rng.IntN(g.Pages)
		write := rng.IntN(100) < g.Writes
		start := time.Now()
		if write {
			store(g.mem, p*pageSize, uint64(p))
		} else if load(g.mem, p*pageSize) != uint64(p) {
			g.result.Bad++
		}
		g.result.Samples[i] = int64(time.Since(start))
	}
	g.result.Nanos = int64(time.Since(begin))
	return nil
}

// permutation returns 0 to n-1 in an order without trend, the same each time.
func permutation(n int) []int { return rand.New(rand.NewPCG(7, 7)).Perm(n) }
