// Package rawfile is a block.Backend over a raw disk image or a block device
// of the host.
//
// Payload goes between the file and guest memory by vectored system calls,
// never through a buffer of ours unless O_DIRECT demands an alignment that the
// guest's memory doesn't have. A read is tried in place with RWF_NOWAIT first:
// what is in the page cache is answered at once. What has to wait for the device
// goes to an io_uring of the queue. Everything else, and all where io_uring isn't there, goes
// to a bounded pool of goroutines, each blocked in one system call at a time.
//
// A file is locked while it is open, exclusively unless read-only, so that two
// VMs can't write one disk.
package rawfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/block"
)

// Config says which file and how.
type Config struct {
	Path     string
	ReadOnly bool
	// Direct bypasses the host's page cache (O_DIRECT). Flushes reach the
	// medium either way.
	Direct  bool
	Workers int // most system calls at once beyond those tried in place; 0 is 16
}

const defaultWorkers = 16

// Disk is an open file. It implements block.Backend.
type Disk struct {
	f      *os.File // immutable after Open, as is the rest but the flags and the pool
	fd     int      // of f
	name   string
	info   block.Info
	device bool      // a block device
	direct bool      // opened with O_DIRECT
	align  alignment // of transfers, if direct
	pool   *pool
	pace   pace

	closing sync.Once

	// partial is held by a direct write that reads a block in order to change
	// a part of it, and shared by all other changes.
	partial sync.RWMutex

	// What the file or the kernel turned out not to have; asked for once.
	noNowait, noPunch, noZero, noRing atomic.Bool
}

// Open opens and locks the file. Errors say what to do.
func Open(c Config) (*Disk, error) {
	if c.Workers == 0 {
		c.Workers = defaultWorkers
	}
	f, err := openFile(c)
	if err != nil {
		return nil, fmt.Errorf("open disk %s: %w", c.Path, err)
	}
	d := &Disk{f: f, fd: int(f.Fd()), name: c.Path, direct: c.Direct}
	if err := d.inspect(c); err != nil {
		f.Close()
		return nil, fmt.Errorf("open disk %s: %w", c.Path, err)
	}
	d.pool = newPool(c.Workers, d.perform)
	return d, nil
}

// Info implements block.Backend.
func (d *Disk) Info() block.Info { return d.info }

// Close waits for the pool and releases the file and its lock. No session may
// be open. Written data that was not flushed is left to the kernel. A
// second Close does nothing.
func (d *Disk) Close() (err error) {
	d.closing.Do(func() {
		d.pool.close()
		err = d.f.Close()
	})
	return err
}

var _ block.Backend = (*Disk)(nil)

// inspect locks the file and finds out its size and abilities.
func (d *Disk) inspect(c Config) error {
	st, err := d.f.Stat()
	if err != nil {
		return err
	}
	mode := st.Mode()
	d.device = mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0
	if !d.device && !mode.IsRegular() {
		return errors.New("not a regular file or block device; give a raw disk image")
	}
	if err := lock(d.f, c.ReadOnly); err != nil {
		return err
	}
	size, err := d.f.Seek(0, unix.SEEK_END)
	if err != nil {
		return fmt.Errorf("find out the size: %w", err)
	}
	if size < block.SectorSize {
		return fmt.Errorf("%d bytes are less than a sector; make it larger, for example with truncate -s 1G", size)
	}
	d.info = block.Info{Size: uint64(size), ReadOnly: c.ReadOnly, Discard: !c.ReadOnly, WriteZeroes: !c.ReadOnly}
	return d.inspectBlocks()
}
