package guesttest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept"
	"splitvm/ept/handoff"
	"splitvm/remote"
)

// gap is where the second half of memory begins, so that guest-physical space
// has a hole like a machine's.
const gap = 1 << 32

// guest is the running guest.
type guest struct {
	*Spec
	mem    []byte
	result Result
}

func (s *Spec) run() Result {
	runtime.GOMAXPROCS(s.Threads + 4)
	debug.SetGCPercent(-1) // stopping the world would wait for whoever faults
	g := &guest{Spec: s}
	err := g.serve()
	if lost := (*lostError)(nil); errors.As(err, &lost) {
		return Result{Error: err.Error()} // its threads have the rest, and still wait
	}
	if err != nil {
		g.result.Error = err.Error()
	}
	return g.result
}

// lostError is the end of a guest whose memory isn't served any more.
type lostError struct{ error }

// makeMemory makes the guest's memory and maps it.
func (g *guest) makeMemory() (*os.File, error) {
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "guest")
	size := g.Pages * pageSize
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, err
	}
	for p := range g.Preload { // like a VMM that loads a kernel before the pager starts
		if _, err := unix.Pwrite(fd, binary.LittleEndian.AppendUint64(nil, uint64(p)+1), int64(p)*pageSize); err != nil {
			return nil, err
		}
	}
	if g.mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	return file, nil
}

func (g *guest) serve() error {
	file, err := g.makeMemory()
	if err != nil {
		return err
	}
	if g.Local {
		return g.work(nil)
	}
	h, err := handoff.NewGuest(file, g.attach())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if g.Late {
		h.PlaceBy(g.placer())
	}
	keeper, err := g.keep(ctx, h)
	if err != nil {
		return err
	}
	work := make(chan error, 1)
	go func() { work <- g.work(keeper) }()
	select {
	case err = <-work:
	case <-keeper.Done():
		return &lostError{keeper.Err()} // threads still wait: closing h would give them zeroes
	}
	g.result.Pagers = keeper.Restarts() + 1
	g.result.Table, _ = h.TableSize()
	if stats, statsErr := keeper.Stats(ctx); statsErr == nil {
		g.result.Stats, _ = json.Marshal(stats)
	}
	return errors.Join(err, keeper.Close(), h.Close())
}

func (g *guest) attach() handoff.Attach {
	a := handoff.Attach{VNode: "test", Session: remote.SessionID(g.Session), Capacity: g.Capacity, Policy: g.Policy,
		Prefetch: g.Prefetch, DeadlineN: int64(g.Deadline)}
	if !g.Late {
		a.Monitors = g.Monitors
	}
	a.Layout = ept.Layout{RegionLines: g.RegionLines, Shards: g.Shards, Slots: g.slots()}
	bytes := uint64(g.RegionLines) * pageSize
	for _, s := range a.Layout.Slots {
		for at := uint64(s.GPA) / bytes; at*bytes < uint64(s.GPA)+s.Size; at++ {
			a.Regions = append(a.Regions, g.region(uint32(at)))
		}
	}
	return a
}

// slots are the halves of memory, or one if it is a single vRegion.
func (g *guest) slots() []ept.Slot {
	size := uint64(len(g.mem))
	half := size / 2 &^ (uint64(g.RegionLines)*pageSize - 1)
	base := ept.HVA(addressOf(g.mem))
	upper := ept.Slot{GPA: ept.GPA(max(gap, size)), HVA: base + ept.HVA(half), Size: size - half, Offset: int64(half)}
	if half == 0 {
		return []ept.Slot{upper}
	}
	return []ept.Slot{{HVA: base, Size: half}, upper}
}

func (g *guest) region(i uint32) handoff.Region {
	if g.Late {
		return handoff.Region{Index: i}
	}
	return g.placed(i)
}

// placed is a vRegion with its owners.
func (g *guest) placed(i uint32) handoff.Region {
	r := handoff.Region{Index: i, ID: remote.VRegionID(g.Session<<32 | uint64(i+1)), Epoch: 1}
	for k := range max(1, g.Replicas) {
		r.Owners = append(r.Owners, uint16((int(i)+k)%len(g.Monitors)))
	}
	return r
}

func (g *guest) work(k *handoff.Keeper) error {
	start := time.Now()
	defer func() {
		if g.result.Nanos == 0 {
			g.result.Nanos = int64(time.Since(start))
		}
	}()
	switch g.Work {
	case "verify":
		return g.verify(k)
	case "pass":
		return g.pass()
	case "sparse":
		return g.sparse()
	case "reread":
		return g.reread()
	case "discard":
		return g.discard(k)
	case "miss":
		return g.miss(context.Background(), k.Resize)
	case "random":
		return g.random()
	}
	return fmt.Errorf("no work %q", g.Work)
}
