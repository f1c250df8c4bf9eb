package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"time"

	"splitvm/ept"
	"splitvm/ept/handoff"
	"splitvm/guest/layout"
	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/vmm/memory"
)

// remoteOptions says where a guest's memory is, if not here.
type remoteOptions struct {
	monitors  []string // addresses; none: local memory
	excache   uint64   // bytes
	policy    string
	prefetch  string
	checksums bool
	deadline  time.Duration // in which a line must be served
	rack      rackOptions   // with a placer: the rack says which monitors
}

// far tells whether the memory is at memory monitors.
func (o remoteOptions) far() bool { return len(o.monitors) > 0 || o.rack.placer != "" }

// vRegionSize is the piece of guest memory that has owners of its own.
const vRegionSize = layout.Page1G

// minDeadline is the least that a monitor is given to serve a line: a busy host
// takes longer than that at times.
const minDeadline = 100 * time.Millisecond

// releaseTime is what monitors have to take the guest's vRegions back.
const releaseTime = 5 * time.Second

// farMemory is a guest's memory at memory monitors, and the pager that serves
// it from there.
type farMemory struct {
	o      remoteOptions
	attach handoff.Attach
	guest  *handoff.Guest
	keeper *handoff.Keeper
	placer *rackPlacer // nil: the owners were given
}

// makeMemory makes guest RAM. If it is remote, it is served from here on: even
// the kernel goes into it through the pager.
func (n *vnode) makeMemory(ctx context.Context) error {
	m, err := layout.New(n.o.memory)
	if err != nil {
		return err
	}
	n.memMap = m
	if !n.o.remote.far() {
		if n.memory, err = memory.NewPrivate(m.RAM()); err == nil {
			n.onClose(n.memory.Close)
		}
		return err
	}
	if n.memory, err = memory.NewLocal(m.RAM()); err != nil {
		return err
	}
	far, err := newFarMemory(ctx, n.o.name, n.o.remote, n.memory)
	if err != nil {
		return errors.Join(err, n.memory.Close())
	}
	n.far = far
	n.onClose(func() error { return far.close(n.memory) })
	return nil
}

func newFarMemory(ctx context.Context, name string, o remoteOptions, m *memory.Memory) (*farMemory, error) {
	f := &farMemory{o: o, attach: attachment(name, o, m)}
	err := f.place(ctx)
	if err != nil {
		return nil, err
	}
	if f.guest, err = handoff.NewGuest(m.Regions()[0].File, f.attach); err != nil {
		return nil, errors.Join(fmt.Errorf("remote memory: %w", err), f.placer.close())
	}
	if f.placer != nil {
		f.guest.PlaceBy(f.placer.place)
	}
	pager := handoff.Launch(func() *exec.Cmd {
		c := exec.Command("/proc/self/exe", "pager")
		c.Stderr = os.Stderr
		if o.checksums {
			c.Args = append(c.Args, "--checksums")
		}
		if o.rack.vnode != 0 {
			c.Args = append(c.Args, "--vnode", strconv.FormatUint(o.rack.vnode, 10))
		}
		return c
	})
	if f.keeper, err = f.guest.Supervise(context.WithoutCancel(ctx), pager); err != nil {
		return nil, errors.Join(fmt.Errorf("remote memory: %w", err), f.guest.Close(), f.placer.close())
	}
	return f, nil
}

// place finds owners for the guest's vRegions: the given monitors in turn. On a rack
// that says who, each when it is first needed.
func (f *farMemory) place(ctx context.Context) (err error) {
	if f.o.rack.placer != "" {
		f.placer, err = newRackPlacer(f.o.rack, &f.attach)
		return err
	}
	f.attach.Monitors = f.o.monitors
	id := rand.Uint64()
	for i := range f.attach.Regions {
		r := &f.attach.Regions[i]
		r.ID, r.Epoch, r.Owners = remote.VRegionID(id+uint64(i)), 1, []uint16{uint16(i % len(f.o.monitors))}
	}
	return f.reachable(ctx)
}

// attachment describes the guest to its pager: the memory's place in this
// process, and its vRegions, which have no owners yet.
func attachment(name string, o remoteOptions, m *memory.Memory) handoff.Attach {
	size := uint64(vRegionSize)
	if o.rack.vregion != 0 {
		size = o.rack.vregion
	}
	a := handoff.Attach{
		VNode: name, Session: remote.SessionID(rand.Uint64() | 1),
		Layout:   ept.Layout{RegionLines: uint32(size / remote.LineSize), Shards: 1},
		Capacity: o.excache / remote.LineSize, Policy: o.policy, Prefetch: o.prefetch, DeadlineN: int64(o.deadline),
	}
	for _, r := range m.Regions() {
		a.Layout.Slots = append(a.Layout.Slots, ept.Slot{GPA: ept.GPA(r.GPA), HVA: ept.HVA(r.HostAddr()), Size: r.Size, Offset: r.Offset})
		for i := uint64(r.GPA) / size; i*size < uint64(r.GPA)+r.Size; i++ {
			a.Regions = append(a.Regions, handoff.Region{Index: uint32(i)})
		}
	}
	return a
}

// eachMonitor calls do with a connection to each monitor.
func eachMonitor(ctx context.Context, monitors []string, do func(c *client.Client, index int) error) error {
	var errs []error
	for i, addr := range monitors {
		c, err := client.Dial(ctx, client.Config{Address: addr})
		if err != nil {
			errs = append(errs, fmt.Errorf("memory monitor %s: %w: start one with `splitvm monitor memory --listen %s --mem SIZE`", addr, err, addr))
			continue
		}
		errs = append(errs, do(c, i), c.Close())
	}
	return errors.Join(errs...)
}

// reachable fails where a monitor does not answer, before a guest depends on it.
func (f *farMemory) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	return eachMonitor(ctx, f.attach.Monitors, func(*client.Client, int) error { return nil })
}

// leaveTime is what the guest's threads have to get out of a memory that is not
// served any more.
const leaveTime = 10 * time.Second

// guard calls end when a line of the guest's memory can't be served, if that has
// not ended before. A thread that waits for such a line may not be able to leave it:
// where KVM reads the guest's page tables (Linux 6.18, paging_tmpl.h) the kernel takes the
// fault again and again until a signal kills it. Then splitvm ends as it is, for
// nothing hangs for ever.
func (f *farMemory) guard(ended <-chan struct{}, end func(error)) {
	select {
	case <-ended:
	case <-f.keeper.Done():
		err := fmt.Errorf("remote memory: %w", f.keeper.Err())
		end(err)
		time.AfterFunc(leaveTime, func() {
			err := fmt.Errorf("the guest can't go on: %w", err)
			fmt.Fprintln(os.Stderr, "splitvm: run:", errors.Join(err, leaveStatus(f.o.rack.statusFile, exitRefused, err)))
			os.Exit(exitRefused)
		})
	}
}

// close ends the pager, gives the vRegions back and unmaps the memory. No vCPU
// may run.
func (f *farMemory) close(m *memory.Memory) error {
	errs := []error{f.keeper.Close()}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	monitors, regions := f.guest.Placed() // some may have moved
	errs = append(errs, eachMonitor(ctx, monitors, func(c *client.Client, index int) error {
		for _, r := range regions {
			if len(r.Owners) == 0 || int(r.Owners[0]) != index {
				continue // was never needed, or is another monitor's
			}
			err := c.Delete(ctx, remote.Owned{VRegion: r.ID, Epoch: r.Epoch})
			if err != nil && !errors.Is(err, remote.NoVRegion) { // never needed, never made
				return fmt.Errorf("give vRegion %v back to %s: %w", r.ID, monitors[index], err)
			}
		}
		return nil
	}))
	return errors.Join(append(errs, m.Close(), f.guest.Close(), f.placer.close())...)
}
