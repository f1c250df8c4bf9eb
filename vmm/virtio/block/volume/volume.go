// Package volume is a block.Backend over a volume at storage monitors.
//
// A guest's request becomes requests of at most remote.MaxBlockIO to the volume;
// payload moves between the monitors' sockets and guest memory by system calls.
// What happens when a monitor goes is remote/blockclient's.
package volume

import (
	"context"
	"fmt"
	"sync"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/remote/wire"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block"
)

// Disk is an open volume. It implements block.Backend.
type Disk struct {
	v     *blockclient.Volume
	mover *blockclient.Mover
	name  string
	jobs  sync.Pool
}

var _ block.Backend = (*Disk)(nil)

// Open opens a volume.
func Open(ctx context.Context, cfg blockclient.Config) (*Disk, error) {
	v, err := blockclient.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Disk{v: v, mover: blockclient.NewMover(v), name: cfg.Name}, nil
}

// Close flushes the volume and gives it back. No session may be open.
func (d *Disk) Close() error {
	d.mover.Close()
	return d.v.Close()
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

// Begin implements block.Backend.
func (d *Disk) Begin(kick *virtio.Event) block.Session { return &session{d, kick} }

// session is one queue's way to the volume.
type session struct {
	*Disk
	kick *virtio.Event
}

// Submit implements block.Session.
func (s *session) Submit(r *block.Request) (done bool, err error) {
	j, _ := s.jobs.Get().(*job)
	if j == nil {
		j = &job{disk: s.Disk}
	}
	n := j.split(r)
	if n == 0 {
		return true, fmt.Errorf("volume %s: %v of %d bytes: %w: too many pieces in a sector", s.name, r.Op, r.Length, remote.Range)
	}
	j.start(n)
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

// opOf is the volume's operation for a guest's.
var opOf = map[block.Op]wire.Op{
	block.OpRead: blockwire.Read, block.OpWrite: blockwire.Write, block.OpFlush: blockwire.Flush,
	block.OpDiscard: blockwire.Discard, block.OpWriteZeroes: blockwire.Zeroes,
}

// job is a guest's request on its way.
type job struct {
	disk *Disk
	r    *block.Request
	subs []*blockclient.Request

	mu   sync.Mutex
	left int   // guarded by mu: sub-requests that are not done
	err  error // guarded by mu: the first
}

// start submits the first n parts.
func (j *job) start(n int) {
	j.left, j.err = n, nil
	for _, sub := range j.subs[:n] {
		j.disk.v.Queue(sub)
	}
}

// maxRange is how much of a discard goes in one request: other requests have
// their turn between.
const maxRange = 64 << 20

// split fills subs with the parts of a request and returns their number; 0 if one
// would have no sector in as many slices as it may have.
func (j *job) split(r *block.Request) int {
	j.r = r
	if r.Op == block.OpFlush {
		*j.sub(0) = blockclient.Request{Op: blockwire.Flush, Done: j.done}
		return 1
	}
	limit, payload := uint64(maxRange), r.Op == block.OpRead || r.Op == block.OpWrite
	if payload {
		limit = remote.MaxBlockIO
	}
	memory, n := r.Memory, 0
	for off, left := r.Offset, r.Length; left > 0; n++ {
		sub := j.sub(n)
		mem, size := sub.Memory[:0], min(left, limit)
		if payload {
			if mem, memory, size = cut(mem, memory, size); size == 0 {
				return 0
			}
		}
		*sub = blockclient.Request{
			Op: opOf[r.Op], Offset: off, Length: size, Memory: mem, Done: j.done,
			Durable: r.Durable && r.Op != block.OpRead,
		}
		off, left = off+size, left-size
	}
	return n
}

func (j *job) sub(i int) *blockclient.Request {
	if i == len(j.subs) {
		j.subs = append(j.subs, new(blockclient.Request))
	}
	return j.subs[i]
}

// cut moves up to n bytes of the vectors, in whole sectors, to head, which gets at
// most blockclient.MaxSlices of them.
func cut(head, v [][]byte, n uint64) (first, rest [][]byte, size uint64) {
	for n > 0 && len(v) > 0 && len(head) < blockclient.MaxSlices {
		k := min(uint64(len(v[0])), n)
		head = append(head, v[0][:k])
		size, n = size+k, n-k
		if k < uint64(len(v[0])) {
			rest = append([][]byte{v[0][k:]}, v[1:]...)
			v = rest
			break
		}
		v = v[1:]
	}
	// A cut in the middle of a sector, where the slices ran out, moves back.
	for size%remote.SectorSize != 0 {
		last := head[len(head)-1]
		k := min(size%remote.SectorSize, uint64(len(last)))
		v = append([][]byte{last[uint64(len(last))-k:]}, v...)
		if head[len(head)-1] = last[:uint64(len(last))-k]; uint64(len(last)) == k {
			head = head[:len(head)-1]
		}
		size -= k
	}
	return head, v, size
}

// done is called for each part.
func (j *job) done(sub *blockclient.Request) {
	j.mu.Lock()
	if j.err == nil {
		j.err = sub.Err
	}
	j.left--
	last := j.left == 0
	j.mu.Unlock()
	if !last {
		return
	}
	r, err := j.r, j.err
	if err != nil {
		err = fmt.Errorf("volume %s: %v of %d bytes at %d: %w", j.disk.name, r.Op, r.Length, r.Offset, err)
	}
	j.disk.jobs.Put(j)
	r.Done(err)
}
