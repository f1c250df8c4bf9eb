package guesttest

import (
	"context"
	"runtime"
	"time"
)

// miss writes Ops pages (all, if that is 0) spread over memory, has them evicted,
// and times the first read of each in random order, in an ExCache with room for all.
// Meanwhile Resident further pages, spread likewise, are in it.
func (g *guest) miss(ctx context.Context, resize func(context.Context, uint64) error) error {
	n := g.Ops
	if n == 0 {
		n = g.Pages
	}
	step := g.Pages / (n + g.Resident)
	if err := g.fillAndEvict(ctx, n, step, resize); err != nil {
		return err
	}
	for i := n; i < n+g.Resident; i++ {
		store(g.mem, i*step*pageSize, uint64(i)+1)
	}
	time.Sleep(50 * time.Millisecond)
	runtime.LockOSThread()
	begin := time.Now()
	for _, i := range permutation(n) {
		start := time.Now()
		v := load(g.mem, i*step*pageSize)
		if d := time.Since(start); d > 2*time.Microsecond {
			g.result.Samples = append(g.result.Samples, int64(d))
		}
		if v != uint64(i)+1 {
			g.wrong(i*step, v, uint64(i)+1)
		}
	}
	g.result.Nanos = int64(time.Since(begin))
	return nil
}

// fillAndEvict writes n pages, has them evicted, and makes room again.
func (g *guest) fillAndEvict(ctx context.Context, n, step int, resize func(context.Context, uint64) error) error {
	for i := range n {
		store(g.mem, i*step*pageSize, uint64(i)+1)
	}
	if err := resize(ctx, 256); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	return resize(ctx, uint64(n+g.Resident)+1024)
}
