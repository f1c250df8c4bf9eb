package volume

import (
	"fmt"
	"sync"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/remote/wire"
	"splitvm/vmm/virtio/block"
)

// opOf is the volume's operation for a guest's.
var opOf = map[block.Op]wire.Op{
	block.OpRead: blockwire.Read, block.OpWrite: blockwire.Write, block.OpFlush: blockwire.Flush,
	block.OpDiscard: blockwire.Discard, block.OpWriteZeroes: blockwire.Zeroes,
}

// job is a request on its way.
type job struct {
	disk  *Disk
	r     *block.Request
	owner owner
	subs  []*blockclient.Request

	mu   sync.Mutex
	left int   // guarded by mu: sub-requests that are not done
	err  error // guarded by mu: the first
}

// owner is told when a request is done: once, maybe before start returns.
type owner interface{ Done(err error) }

// start queues a request to the volume.
func (d *Disk) start(r *block.Request, o owner) {
	j, _ := d.jobs.Get().(*job)
	if j == nil {
		j = &job{disk: d}
	}
	j.owner = o
	n := j.split(r)
	if n == 0 {
		d.jobs.Put(j)
		o.Done(fmt.Errorf("volume %s: %v of %d bytes: %w: too many pieces in a sector", d.name, r.Op, r.Length, remote.Range))
		return
	}
	j.left, j.err = n, nil
	for _, sub := range j.subs[:n] {
		d.v.Queue(sub)
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
	r, o, err := j.r, j.owner, j.err
	if err != nil {
		err = fmt.Errorf("volume %s: %v of %d bytes at %d: %w", j.disk.name, r.Op, r.Length, r.Offset, err)
	}
	j.disk.jobs.Put(j)
	o.Done(err)
}
