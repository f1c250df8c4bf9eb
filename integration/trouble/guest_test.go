package trouble

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"splitvm/ept"
	"splitvm/ept/handoff"
	gb "splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/remote"
	"splitvm/vmm/bare"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

// regionLines is the size of a vRegion here: small, so that every monitor has
// some of a guest.
const regionLines = 8 << 20 / remote.LineSize

// guest is a bare guest whose memory is at memory monitors. It keeps its memory
// from one run to the next.
type guest struct {
	t      testing.TB
	sys    *kvm.System
	memory *memory.Memory
	far    *handoff.Guest
	keeper *handoff.Keeper
	size   uint64
}

// newGuest makes a guest of size bytes behind an ExCache of so many lines. Id
// tells its session and vRegions from other guests' at the same monitors.
func newGuest(t testing.TB, id, size, lines uint64, monitors []string) *guest {
	t.Helper()
	g := &guest{t: t, size: size}
	var err error
	g.sys, err = kvm.Open("/dev/kvm")
	must(t, err)
	t.Cleanup(func() { g.sys.Close() })
	ram, err := layout.New(size)
	must(t, err)
	g.memory, err = memory.NewLocal(ram.RAM())
	must(t, err)
	a := handoff.Attach{VNode: "trouble", Session: remote.SessionID(id), Monitors: monitors, Capacity: lines, Prefetch: "majority",
		Layout: ept.Layout{RegionLines: regionLines, Shards: 2}}
	for _, r := range g.memory.Regions() {
		a.Layout.Slots = append(a.Layout.Slots, ept.Slot{GPA: ept.GPA(r.GPA), HVA: ept.HVA(r.HostAddr()), Size: r.Size, Offset: r.Offset})
		for i := uint64(r.GPA) / (regionLines * remote.LineSize); i*regionLines*remote.LineSize < uint64(r.GPA)+r.Size; i++ {
			a.Regions = append(a.Regions, handoff.Region{Index: uint32(i), ID: remote.VRegionID(id<<32 | i), Epoch: 1, Owners: []uint16{uint16(len(a.Regions) % len(monitors))}})
		}
	}
	g.far, err = handoff.NewGuest(g.memory.Regions()[0].File, a)
	must(t, err)
	g.keeper, err = g.far.Supervise(t.Context(), handoff.Launch(func() *exec.Cmd { return role("pager") }))
	must(t, err)
	t.Cleanup(g.close)
	return g
}

func (g *guest) close() {
	if err := errors.Join(g.keeper.Close(), g.memory.Close(), g.far.Close()); err != nil {
		g.t.Error(err)
	}
}

// run runs a program to its end; limit is what no run of a served guest takes.
func (g *guest) run(ctx context.Context, limit time.Duration, s bare.Spec) (*bare.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-over:
			return
		case <-g.keeper.Done():
			g.t.Errorf("memory is not served any more: %v", g.keeper.Err())
		case <-ctx.Done():
			g.t.Errorf("a run of %v has not ended: a guest hangs", limit)
		}
		g.far.Close() // wakes vCPUs that sleep in a fault; what they find is zeroes
		cancel()
	}()
	return bare.Run(ctx, g.sys, g.memory, s)
}

// shares are the guest's working memory in equal parts, one for each vCPU, each
// part behind its table of a number (uint32) for each line.
func (g *guest) shares(vcpus int, pattern uint64) []gb.Params {
	lines := (g.size - gb.Memory) / gb.LineSize / uint64(vcpus)
	table := (4*lines + gb.LineSize - 1) / gb.LineSize
	var all []gb.Params
	for i := range uint64(vcpus) {
		at := gb.Memory + i*lines*gb.LineSize
		all = append(all, gb.Params{Table: at, Start: at + table*gb.LineSize, Count: lines - table, Stride: gb.LineSize,
			Words: gb.LineSize / 8, WordStride: 8, Pattern: pattern, Seed: pattern ^ 0x9e3779b97f4a7c15*(i+1)})
	}
	return all
}
