package handoff

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"splitvm/ept"
	"splitvm/ept/excache"
	"splitvm/ept/uffd"
)

// Guest is the VMM's side of a vNode whose memory is remote: the descriptors that
// outlive its pagers, and who owns which vRegion. Its methods are not safe for
// concurrent use, but for those about vRegions.
type Guest struct {
	memory int          // the memfd; the caller's
	table  *os.File     // the line table's memfd
	faults []*uffd.File // by shard

	mu     sync.Mutex
	attach Attach // guarded by mu
	placer Placer // immutable after the first Attach; may be nil
}

// NewGuest registers the guest's memory, which is mapped in this process as
// attach.Layout says, with new userfaultfds, and makes a line table. From now on
// a touch of a page that isn't there blocks until a pager serves it. Pages
// that are in the memfd already are adopted by the first pager. Memory must stay open
// until Close.
func NewGuest(memory *os.File, attach Attach) (*Guest, error) {
	if err := attach.check(); err != nil {
		return nil, fmt.Errorf("make guest memory remote: %w", err)
	}
	g := &Guest{attach: attach, memory: int(memory.Fd())}
	err := g.makeTable()
	for i := 0; err == nil && i < attach.Layout.Shards; i++ {
		err = g.openShard()
	}
	if err == nil {
		err = g.register()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make guest memory remote: %w", err), g.Close())
	}
	return g, nil
}

func (g *Guest) makeTable() error {
	fd, err := unix.MemfdCreate("splitvm-lines", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("make line table: memfd_create: %w", err)
	}
	g.table = os.NewFile(uintptr(fd), "splitvm-lines")
	lines := g.attach.Layout.Lines()
	size := excache.FileSize(lines)
	if err := unix.Ftruncate(fd, size); err != nil {
		return fmt.Errorf("make line table of %d bytes: %w", size, err)
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map line table: %w", err)
	}
	defer unix.Munmap(mem)
	if err := excache.Format(mem, lines); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, tableSeals); err != nil {
		return fmt.Errorf("seal line table: %w", err)
	}
	return nil
}

// tableSeals keep the table from being made shorter while it is mapped.
const tableSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

func (g *Guest) openShard() error {
	f, err := uffd.Open()
	if err != nil {
		return err
	}
	g.faults = append(g.faults, f)
	return f.Handshake(uffd.FeaturesPager)
}

// register gives each shard the vRegions that are its.
func (g *Guest) register() error {
	return g.attach.Layout.EachShardRange(func(shard int, addr, size uint64) error {
		return g.faults[shard].Register(addr, size, uffd.RegisterMissing|uffd.RegisterMinor|uffd.RegisterWP)
	})
}

// files lists the descriptors in the order of the attach message.
func (g *Guest) files() []int {
	fds := []int{g.memory, int(g.table.Fd())}
	for _, f := range g.faults {
		fds = append(fds, f.FD())
	}
	return fds
}

// TableSize returns how many bytes of memory the line table takes: what was
// touched of it.
func (g *Guest) TableSize() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(g.table.Fd()), &st); err != nil {
		return 0, fmt.Errorf("look at line table: %w", err)
	}
	return st.Blocks * 512, nil
}

// Close ends the guest's remote memory: every page that is not in the memfd is
// zeroes from now on, so no vCPU may run any more. Sleepers wake.
func (g *Guest) Close() error {
	var errs []error
	for _, f := range g.faults {
		errs = append(errs, f.Close())
	}
	if g.table != nil {
		errs = append(errs, g.table.Close())
	}
	return errors.Join(errs...)
}

// Failure is an error of a pager that can't be cured by another pager.
type Failure = ept.Failure
