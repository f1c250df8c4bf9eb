package powercut

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Disk is a disk whose power can be cut.
type Disk struct {
	cache  *cache
	dir    string // where the file is
	server *fuse.Server
}

// Config is how a disk behaves.
type Config struct {
	LoseFlushes float64 // share of the flushes that are answered and make nothing durable
}

// New makes a disk of an image, which it takes over. dir is an empty directory.
func New(dir string, image *Image, cfg Config) (*Disk, error) {
	c := newCache(image, cfg.LoseFlushes)
	server, err := serve(dir, c, image.size)
	if err != nil {
		return nil, fmt.Errorf("serve a disk at %s: %w", dir, err)
	}
	return &Disk{cache: c, dir: dir, server: server}, nil
}

// Path is the file that is the disk. This process must not use it: a thread that
// waits for it can't be killed, and keeps what serves it alive.
func (d *Disk) Path() string { return filepath.Join(d.dir, fileName) }

// Arm has the power go at the nth operation from now on that is not a read: at a
// random moment of it, before it or after it has taken effect; it is answered in
// neither case. The channel is closed then.
func (d *Disk) Arm(n int, rng *rand.Rand) <-chan struct{} {
	return d.cache.arm(n, rng.IntN(2) == 0)
}

// Cut cuts the power, if it is not, and returns what is left on the disk. All
// requests wait from now on until Discard.
func (d *Disk) Cut(rng *rand.Rand) *Image { return d.cache.cut(rng) }

// Discard ends all requests with success and no effect on what Cut has returned.
// Whoever could learn from that must be gone by then, or have been sent SIGKILL.
func (d *Disk) Discard() { d.cache.discardAll() }

// Stats is what the disk has done.
func (d *Disk) Stats() Stats {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	return d.cache.seen
}

// Close takes the disk away. Nothing may be mounted from it. The connection is cut
// by force: mount namespaces that were made meanwhile have a copy of the mount.
func (d *Disk) Close() error {
	d.Discard()
	err := unix.Unmount(d.dir, unix.MNT_DETACH|unix.MNT_FORCE)
	d.server.Wait()
	return err
}
