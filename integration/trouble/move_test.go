package trouble

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"splitvm/ept/handoff"
	"splitvm/integration/require"
	"splitvm/remote"
	"splitvm/remote/client"
)

// mover moves a guest's vRegions from monitor to monitor, one after the other.
type mover struct {
	g        *guest
	monitors []string
	rng      *rand.Rand
	stop     context.CancelFunc
	over     sync.WaitGroup
	moved    atomic.Int64
	took     time.Duration
}

func move(g *guest, seed uint64, monitors []string) *mover {
	ctx, stop := context.WithCancel(context.Background())
	m := &mover{g: g, monitors: monitors, rng: rand.New(rand.NewPCG(seed, 2)), stop: stop}
	m.over.Go(func() { m.run(ctx) })
	return m
}

func (m *mover) run(ctx context.Context) {
	for epoch := remote.Epoch(2); ctx.Err() == nil; epoch++ {
		owners, regions := m.g.far.Placed()
		r := regions[m.rng.IntN(len(regions))]
		to := m.monitors[m.rng.IntN(len(m.monitors))]
		if to == owners[r.Owners[0]] {
			continue
		}
		began := time.Now()
		err := m.g.keeper.Move(context.WithoutCancel(ctx), handoff.Move{Index: r.Index, Epoch: epoch, To: to})
		switch {
		case err == nil:
			m.moved.Add(1)
			m.took += time.Since(began)
		case !errors.Is(err, handoff.ErrPagerGone): // the guest has ended
			m.g.t.Errorf("move vRegion %d to %s: %v", r.Index, to, err)
			return
		}
	}
}

// end waits for the last move.
func (m *mover) end(t testing.TB) {
	t.Helper()
	m.stop()
	m.over.Wait()
	n := m.moved.Load()
	if n == 0 {
		t.Fatal("no vRegion has moved")
	}
	t.Logf("%d vRegions moved, each in %v on average", n, m.took/time.Duration(n))
}

// TestMovesUnderVerifyingGuests: two guests' vRegions move between three monitors
// all the time, under eviction, prefetch, resizes and pagers that are killed in
// the middle of a move: not one wrong word, and the monitors hold each vRegion once.
func TestMovesUnderVerifyingGuests(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	monitors := startMonitors(t, 3)
	long := span(15 * time.Second)
	var guests sync.WaitGroup
	for id := range uint64(2) {
		g := newGuest(t, id+1, guestSize, sizes[0], monitors[:2])
		d, m := disturb(g, id, pause(long), sizes), move(g, id, monitors)
		guests.Go(func() {
			verify(t, g, long, 0xfeed_0000+id, d.enough, func() bool { return m.moved.Load() > 0 })
			m.end(t)
			d.end(t)
			once(t, g, monitors)
		})
	}
	guests.Wait()
}

// once checks that each of the guest's vRegions is at its owner.
func once(t *testing.T, g *guest, monitors []string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	owners, regions := g.far.Placed()
	for _, addr := range monitors {
		c, err := client.Dial(ctx, client.Config{Address: addr})
		must(t, err)
		for _, r := range regions {
			s, err := c.Stat(ctx, r.ID)
			switch owner := owners[r.Owners[0]] == addr; {
			case owner && (err != nil || s.Epoch != r.Epoch):
				t.Errorf("%v is not at its owner %s at epoch %d: %+v, %v", r.ID, addr, r.Epoch, s, err)
			case !owner && err == nil && s.Epoch >= r.Epoch:
				t.Errorf("%v is also at %s: %+v", r.ID, addr, s)
			}
		}
		c.Close()
	}
}

// TestMoveToLostMonitor: a target that is killed, stopped or full in the middle of
// a move costs the move and nothing else: the guest goes on at the old owner, and
// the next move succeeds.
func TestMoveToLostMonitor(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	binary := build(t)
	monitors := startMonitors(t, 2)
	g := newGuest(t, 1, guestSize, sizes[0], monitors[:1])
	for _, tt := range []struct {
		name, mem string
		lose      func(m *monitorCommand) error
	}{
		{"killed", "128M", func(m *monitorCommand) error { return m.cmd.Process.Kill() }},
		{"stopped", "128M", func(m *monitorCommand) error { return m.cmd.Process.Signal(syscall.SIGSTOP) }},
		{"full", "1M", func(*monitorCommand) error { return nil }},
	} {
		m := runMonitor(t, binary, freeAddress(t), tt.mem)
		p := newProxy(t, m.addr)
		p.holdAfter(regionLines / 8 * remote.LineSize)
		var over sync.WaitGroup
		over.Go(func() { verify(t, g, 5*time.Second, 0xfade) })
		wait(t, "vRegion 8 is written to", func() bool { return held(t, monitors[0], 1<<32|8) > regionLines/2 })
		failed := make(chan error, 1)
		go func() {
			failed <- g.keeper.Move(context.Background(), handoff.Move{Index: 8, Epoch: 2, To: p.l.Addr().String()})
		}()
		if tt.name != "full" {
			select {
			case <-p.held:
			case <-time.After(patience):
				t.Fatalf("%s: the vRegion does not move", tt.name)
			}
		}
		must(t, tt.lose(m))
		p.release()
		select {
		case err := <-failed:
			if err == nil {
				t.Fatalf("%s: the vRegion has moved to a monitor that was lost", tt.name)
			}
			t.Logf("%s: %v", tt.name, err)
		case <-time.After(patience):
			t.Fatalf("%s: the move has not failed after %v", tt.name, patience)
		}
		over.Wait()
		m.cmd.Process.Kill()
	}
	must(t, g.keeper.Move(t.Context(), handoff.Move{Index: 8, Epoch: 3, To: monitors[1]}))
	verify(t, g, 2*time.Second, 0xfade)
	once(t, g, monitors)
}

// held is how many lines a monitor holds of a vRegion.
func held(t *testing.T, addr string, id remote.VRegionID) uint32 {
	c := client.New(client.Config{Address: addr})
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s, _ := c.Stat(ctx, id)
	return s.Held
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}
