// Package volume is a block.Backend over a volume at storage monitors.
//
// A guest's request becomes requests of at most remote.MaxBlockIO to the volume;
// payload moves between the monitors' sockets and guest memory by system calls.
// What happens when a monitor goes is remote/blockclient's.
package volume

import (
	"context"
	"errors"
	"sync"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block"
)

// Disk is an open volume. It implements block.Backend.
type Disk struct {
	v     client
	mover *blockclient.Mover
	name  string
	cache *cached // nil: none
	jobs  sync.Pool
}

// client is a blockclient.Volume.
type client interface {
	Size() uint64
	ReadOnly() bool
	Queue(r *blockclient.Request)
	Send()
	Err() error
	Close() error
}

// Config is which volume, and how to use it.
type Config struct {
	blockclient.Config
	// Cache is how many bytes of the volume may be kept here, those that were
	// written and not flushed included; 0 is none.
	Cache uint64
}

var _ block.Backend = (*Disk)(nil)

// Open opens a volume.
func Open(ctx context.Context, cfg Config) (*Disk, error) {
	v, err := blockclient.Open(ctx, cfg.Config)
	if err != nil {
		return nil, err
	}
	d := &Disk{v: v, mover: blockclient.NewMover(v), name: cfg.Name}
	if cfg.Cache > 0 {
		if d.cache, err = newCached(d, cfg.Cache, cfg.Log); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// Close flushes the volume, with what is written here only, and gives it back. No
// session may be open.
func (d *Disk) Close() error {
	var err error
	if d.cache != nil {
		err = d.cache.close()
	}
	d.mover.Close()
	return errors.Join(err, d.v.Close())
}

// Move begins to move a replica from one storage monitor to another, or tells how
// that stands: blockclient.Mover.
func (d *Disk) Move(what blockclient.Move) (blockclient.Outcome, error) { return d.mover.Move(what) }

// Withdraw begins to end such a move, likewise.
func (d *Disk) Withdraw(what blockclient.Move) (blockclient.Outcome, error) {
	return d.mover.Withdraw(what)
}

// Info implements block.Backend.
func (d *Disk) Info() block.Info {
	return block.Info{
		Size: d.v.Size(), BlockSize: remote.SectorSize, PhysicalBlock: remote.BlockSize,
		ReadOnly: d.v.ReadOnly(), Discard: !d.v.ReadOnly(), WriteZeroes: !d.v.ReadOnly(),
	}
}

// CacheStats is what a cache has, and what it has done since Open; in bytes.
type CacheStats struct {
	Capacity uint64 `json:"capacity_bytes"`
	Held     uint64 `json:"held_bytes"`
	Dirty    uint64 `json:"dirty_bytes"`  // of them, not at the storage monitors yet
	Hit      uint64 `json:"hit_bytes"`    // read from it
	Missed   uint64 `json:"missed_bytes"` // read from the storage monitors
	Sent     uint64 `json:"sent_bytes"`   // written back
}

// CacheStats returns them; false if there is no cache.
func (d *Disk) CacheStats() (CacheStats, bool) {
	c := d.cache
	if c == nil {
		return CacheStats{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Capacity, s.Held, s.Dirty = uint64(c.index.Limit())*remote.BlockSize, uint64(c.index.Held())*remote.BlockSize, uint64(c.index.Dirty())*remote.BlockSize
	return s, true
}

// Begin implements block.Backend.
func (d *Disk) Begin(kick *virtio.Event) block.Session { return &session{d, kick} }

// session is one queue's way to the volume.
type session struct {
	*Disk
	kick *virtio.Event
}

// Submit implements block.Session.
func (s *session) Submit(r *block.Request) (done bool, err error) {
	if s.cache != nil {
		return s.cache.submit(r, r)
	}
	s.start(r, r)
	return false, nil
}

// Commit implements block.Session.
func (s *session) Commit() error {
	s.v.Send()
	return nil
}

// Wait implements block.Session.
func (s *session) Wait() error {
	s.v.Send()
	return s.kick.Wait()
}

// Close implements block.Session.
func (s *session) Close() error {
	s.v.Send()
	return nil
}
