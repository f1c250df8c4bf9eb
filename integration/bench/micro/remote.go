//go:build amd64

package micro

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"splitvm/ept"
	"splitvm/ept/handoff"
	"splitvm/ept/policy"
	"splitvm/ept/prefetch"
	"splitvm/guest/layout"
	"splitvm/remote"
	"splitvm/vmm/memory"
)

// farAway is memory at memory monitors, behind splitvm's pager: the VMM, the
// pager and each monitor are processes of their own.
type farAway struct {
	parts     Parts
	policy    string // "" is the pager's default
	prefetch  string
	checksums bool
	network   string // between pager and monitors; "" is loopback TCP
	monitors  int
}

var _ Backend = farAway{}

// parseRemote reads a name such as remote, remote+off or
// remote+s3fifo+majority+checksums+2: what follows the first plus is an eviction
// policy, a prefetcher, checksums, unix or shm instead of TCP, or a number of monitors.
func parseRemote(name string, parts Parts) (Backend, error) {
	words := strings.Split(name, "+")
	f := farAway{parts: parts, monitors: 1}
	for _, w := range words[1:] {
		_, notPolicy := policy.ByName(w)
		n, notNumber := strconv.Atoi(w)
		switch {
		case notPolicy == nil:
			f.policy = w
		case slices.Contains(prefetch.Names(), w):
			f.prefetch = w
		case w == "checksums":
			f.checksums = true
		case w == "unix" || w == "shm":
			f.network = w
		case notNumber == nil && n >= 1 && n <= 64:
			f.monitors = n
		default:
			return nil, fmt.Errorf("backend %s: %q is no eviction policy, no prefetcher (%s), not checksums, unix or shm, and no number of monitors", name, w, strings.Join(prefetch.Names(), ", "))
		}
	}
	return f, nil
}

// programLines is room in the cache for what the guest needs beside its working
// set, which other backends have elsewhere: code, page tables, and what each
// vCPU has.
func programLines(c *Cell) uint64 { return 24 + 4*uint64(c.VCPUs) }

// Open starts the monitors and the pager.
func (f farAway) Open(ctx context.Context, c *Cell, ram layout.Map) (RAM, error) {
	m, err := memory.NewLocal(ram.RAM())
	if err != nil {
		return nil, err
	}
	r := &remoteRAM{m: m}
	if err := r.serve(ctx, &f, c); err != nil {
		return nil, errors.Join(fmt.Errorf("remote memory: %w", err), r.Close())
	}
	return r, nil
}

// remoteRAM is the guest's side.
type remoteRAM struct {
	m        *memory.Memory
	guest    *handoff.Guest
	keeper   *handoff.Keeper
	monitors []*monitor
}

func (r *remoteRAM) Memory() *memory.Memory { return r.m }

func (r *remoteRAM) serve(ctx context.Context, f *farAway, c *Cell) error {
	var addresses []string
	for range f.monitors {
		// A monitor takes a few more lines than it is written: spare ones for
		// writes under way.
		mon, err := startMonitor(ctx, f.parts, f.network, r.m.Size()+64<<20)
		if err != nil {
			return err
		}
		r.monitors = append(r.monitors, mon)
		addresses = append(addresses, mon.address)
	}
	attach := f.attach(c, r.m, addresses)
	var err error
	if r.guest, err = handoff.NewGuest(r.m.Regions()[0].File, attach); err != nil {
		return err
	}
	r.keeper, err = r.guest.Supervise(ctx, handoff.Launch(func() *exec.Cmd {
		cmd := f.parts(context.WithoutCancel(ctx), RolePager)
		if f.checksums {
			cmd.Args = append(cmd.Args, "--checksums")
		}
		cmd.Stderr = os.Stderr
		return cmd
	}))
	return err
}

// regionLines is the size of a vRegion: small enough that all monitors have
// some of a small guest.
const regionLines = 16 << 20 / remote.LineSize

func (f *farAway) attach(c *Cell, m *memory.Memory, monitors []string) handoff.Attach {
	capacity := max(c.CacheLines()+programLines(c), ept.MinCapacity)
	if c.Cache >= 100 {
		capacity += capacity / 8 // the evictor keeps some frames free
	}
	a := handoff.Attach{
		VNode: "bench", Session: remote.SessionID(rand.Uint64() | 1), Monitors: monitors,
		Layout:   ept.Layout{RegionLines: regionLines, Shards: 1},
		Capacity: capacity, Policy: f.policy, Prefetch: f.prefetch,
	}
	id := rand.Uint64()
	const size = regionLines * remote.LineSize
	for _, r := range m.Regions() {
		a.Layout.Slots = append(a.Layout.Slots, ept.Slot{GPA: ept.GPA(r.GPA), HVA: ept.HVA(r.HostAddr()), Size: r.Size, Offset: r.Offset})
		for i := uint64(r.GPA) / size; i*size < uint64(r.GPA)+r.Size; i++ {
			owner := uint16(len(a.Regions) % len(monitors))
			a.Regions = append(a.Regions, handoff.Region{Index: uint32(i), ID: remote.VRegionID(id + i), Epoch: 1, Owners: []uint16{owner}})
		}
	}
	return a
}

// Misses are the faults that waited for a line, wherever that came from.
func (r *remoteRAM) Misses() (uint64, error) {
	s, err := r.stats()
	if err != nil {
		return 0, err
	}
	return s.Zero + s.Missed + s.Held + s.Waited, nil
}

func (r *remoteRAM) stats() (*ept.Stats, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return r.keeper.Stats(ctx)
}

// Details are the pager's counters since it started.
func (r *remoteRAM) Details(m *Measurement) error {
	s, err := r.stats()
	if err != nil {
		return err
	}
	m.Pager, m.Resident = s, uint64(max(s.Used, 0))*remote.LineSize
	return nil
}

// Close ends the pager before the monitors, and the userfaultfds last.
func (r *remoteRAM) Close() error {
	var errs []error
	if r.keeper != nil {
		errs = append(errs, r.keeper.Close())
	}
	for _, m := range r.monitors {
		errs = append(errs, m.close())
	}
	errs = append(errs, r.m.Close())
	if r.guest != nil {
		errs = append(errs, r.guest.Close())
	}
	return errors.Join(errs...)
}

// monitor is a memory monitor's process.
type monitor struct {
	address string
	cmd     *exec.Cmd
	hangUp  func() error
}

func startMonitor(ctx context.Context, parts Parts, network string, size uint64) (*monitor, error) {
	cmd, conn, err := startWithSocket(ctx, parts, roleMonitor)
	if err != nil {
		return nil, err
	}
	m := &monitor{cmd: cmd, hangUp: conn.Close}
	b := make([]byte, 256)
	conn.SetDeadline(time.Now().Add(patience))
	if _, err = fmt.Fprintf(conn, "%d %s\n", size, network); err == nil {
		var n int
		n, err = conn.Read(b)
		m.address = strings.TrimSpace(string(b[:n]))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start memory monitor: %w", err), m.close())
	}
	return m, nil
}

func (m *monitor) close() error {
	err := m.hangUp()
	if werr := m.cmd.Wait(); werr != nil {
		err = errors.Join(err, fmt.Errorf("memory monitor: %w", werr))
	}
	return err
}
