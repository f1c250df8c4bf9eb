package trouble

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disturber kills a guest's pager and resizes its ExCache now and then, and
// adds up what all the pagers did.
type disturber struct {
	g     *guest
	every time.Duration // mean time between two acts
	sizes []uint64      // lines, in turn
	rng   *rand.Rand
	stop  context.CancelFunc
	over  sync.WaitGroup

	// What happened, whole after end.
	kills, resizes                  int
	missed, ahead, evicted, written uint64
}

// disturb begins; end ends it.
func disturb(g *guest, seed uint64, every time.Duration, sizes []uint64) *disturber {
	ctx, stop := context.WithCancel(context.Background())
	d := &disturber{g: g, every: every, sizes: sizes, rng: rand.New(rand.NewPCG(seed, 1)), stop: stop}
	d.over.Go(func() { d.run(ctx) })
	return d
}

func (d *disturber) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.g.keeper.Done():
			return
		case <-time.After(time.Duration(d.rng.Int64N(2 * int64(d.every)))):
		}
		if d.rng.IntN(2) == 0 {
			d.kill(ctx)
			continue
		}
		if err := d.g.keeper.Resize(ctx, d.sizes[d.resizes%len(d.sizes)]); err == nil {
			d.resizes++
		} else if !errors.Is(err, context.Canceled) {
			d.g.t.Errorf("resize: %v", err)
		}
	}
}

func (d *disturber) kill(ctx context.Context) {
	d.count(ctx)
	if unix.Kill(d.g.keeper.Session().Ready.PID, unix.SIGKILL) == nil {
		d.kills++
	}
}

// count adds what the pager of the moment did.
func (d *disturber) count(ctx context.Context) {
	s, err := d.g.keeper.Stats(ctx)
	if err != nil {
		return
	}
	d.missed += s.Missed
	d.ahead += s.Ahead
	d.evicted += s.Evicted
	d.written += s.WrittenBack
}

// end waits for the last act, and fails the test if one kind of trouble has not
// been there.
func (d *disturber) end(t testing.TB) {
	t.Helper()
	d.stop()
	d.over.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d.count(ctx)
	t.Logf("%d pagers killed (%d replaced), %d resizes, %d lines missed, %d fetched ahead, %d evicted, %d written back", d.kills, d.g.keeper.Restarts(),
		d.resizes, d.missed, d.ahead, d.evicted, d.written)
	if d.kills == 0 || d.g.keeper.Restarts() == 0 || d.resizes == 0 || d.missed == 0 || d.ahead == 0 || d.evicted == 0 || d.written == 0 {
		t.Errorf("there was no trouble of one kind: the test shows less than it should")
	}
}
