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

	mu   sync.Mutex
	seen seen // guarded by mu
}

// seen is what happened.
type seen struct {
	kills, restarts, resizes        int
	missed, ahead, evicted, written uint64
}

func (s seen) all() bool {
	return s.kills > 0 && s.restarts > 0 && s.resizes > 0 && s.missed > 0 && s.ahead > 0 && s.evicted > 0 && s.written > 0
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
		if err := d.g.keeper.Resize(ctx, d.sizes[d.seen.resizes%len(d.sizes)]); err == nil {
			d.note(func(s *seen) { s.resizes++ })
		} else if !errors.Is(err, context.Canceled) {
			d.g.t.Errorf("resize: %v", err)
		}
	}
}

func (d *disturber) kill(ctx context.Context) {
	d.count(ctx)
	if unix.Kill(d.g.keeper.Session().Ready.PID, unix.SIGKILL) == nil {
		d.note(func(s *seen) { s.kills++ })
	}
}

func (d *disturber) note(what func(*seen)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	what(&d.seen)
}

// enough tells whether there has been trouble of each kind; each is a matter of chance.
// It is false until then, and true where none is to be expected any more.
func (d *disturber) enough() (is bool) {
	d.note(func(s *seen) { s.restarts, is = d.g.keeper.Restarts(), s.all() })
	return is || d.g.t.Failed()
}

// count adds what the pager of the moment did.
func (d *disturber) count(ctx context.Context) {
	s, err := d.g.keeper.Stats(ctx)
	if err != nil {
		return
	}
	d.note(func(n *seen) {
		n.missed += s.Missed
		n.ahead += s.Ahead
		n.evicted += s.Evicted
		n.written += s.WrittenBack
	})
}

// end waits for the last act, and fails the test if one kind of trouble has not
// been there.
func (d *disturber) end(t testing.TB) {
	t.Helper()
	d.stop()
	d.over.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d.count(ctx)
	enough := d.enough()
	t.Logf("%+v", d.seen)
	if !enough {
		t.Errorf("there was no trouble of one kind: the test shows less than it should")
	}
}
