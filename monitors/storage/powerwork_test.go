package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/remote/volumes"
	"splitvm/remote/wire"
)

// powerWriter writes some blocks of a volume, one request at a time, and checks
// what it reads.
type powerWriter struct {
	v             *blockclient.Volume
	pasts         *pasts
	first, blocks int
	durable       bool // each change by itself
	rng           *rand.Rand
}

// readAll compares all blocks.
func readAll(v *blockclient.Volume, p *pasts, sure bool, count *int) error {
	buf := make([]byte, len(p.blocks)*remote.BlockSize)
	for off := 0; off < len(buf); off += remote.MaxBlockIO {
		if err := do(v, blockwire.Read, uint64(off), buf[off:min(off+remote.MaxBlockIO, len(buf))]); err != nil {
			return err
		}
	}
	for i := range p.blocks {
		*count++
		if err := p.read(i, buf[i*remote.BlockSize:][:remote.BlockSize], sure); err != nil {
			return err
		}
	}
	return nil
}

func (w *powerWriter) step() error {
	at := w.first + w.rng.IntN(w.blocks)
	n := min(1+w.rng.IntN(4), w.first+w.blocks-at)
	switch w.rng.IntN(8) {
	case 0:
		return w.flush()
	case 1, 2:
		return w.read(at, n)
	case 3:
		return w.change(blockwire.Discard, at, make([]content, n))
	case 4:
		return w.change(blockwire.Zeroes, at, make([]content, n))
	case 5:
		return w.modify(at)
	}
	blocks := make([]content, n)
	for i := range blocks {
		value := w.rng.Uint64()
		for s := range blocks[i] {
			blocks[i][s] = value
		}
	}
	return w.change(blockwire.Write, at, blocks)
}

func (w *powerWriter) flush() error {
	if err := doLength(w.v, blockwire.Flush, 0, 0, nil); err != nil {
		return err
	}
	w.pasts.flushed(w.first, w.blocks)
	return nil
}

func (w *powerWriter) read(at, n int) error {
	buf := make([]byte, n*remote.BlockSize)
	if err := do(w.v, blockwire.Read, uint64(at)*remote.BlockSize, buf); err != nil {
		return err
	}
	for i := range n {
		if err := w.pasts.read(at+i, buf[i*remote.BlockSize:], true); err != nil {
			return err
		}
	}
	return nil
}

// change writes or discards blocks.
func (w *powerWriter) change(op wire.Op, at int, blocks []content) error {
	var buf []byte
	if op == blockwire.Write {
		for _, c := range blocks {
			buf = c.append(buf)
		}
	}
	return w.submit(op, at, blocks, uint64(at)*remote.BlockSize, uint64(len(blocks))*remote.BlockSize, buf)
}

// modify writes some sectors of a block.
func (w *powerWriter) modify(at int) error {
	c, known := w.pasts.newest(at)
	if !known {
		return nil
	}
	from := w.rng.IntN(blockSectors)
	to := from + 1 + w.rng.IntN(blockSectors-from)
	value := w.rng.Uint64()
	for i := from; i < to; i++ {
		c[i] = value
	}
	buf := c.append(nil)[from*remote.SectorSize : to*remote.SectorSize]
	return w.submit(blockwire.Write, at, []content{c}, uint64(at)*remote.BlockSize+uint64(from)*remote.SectorSize, uint64(len(buf)), buf)
}

func (w *powerWriter) submit(op wire.Op, at int, blocks []content, off, n uint64, buf []byte) error {
	durable := w.durable || w.rng.IntN(10) == 0
	w.pasts.submit(at, blocks)
	done := make(chan error, 1)
	r := &blockclient.Request{Op: op, Offset: off, Length: n, Durable: durable, Done: func(r *blockclient.Request) { done <- r.Err }}
	if buf != nil {
		r.Memory = [][]byte{buf}
	}
	w.v.Submit(r)
	if err := <-done; err != nil {
		return err
	}
	w.pasts.answer(at, len(blocks), durable)
	return nil
}

// operator makes, copies, writes, resizes and deletes volumes of its own, one
// operation at a time.
type operator struct {
	w       *powerWorld
	rng     *rand.Rand
	prefix  string
	made    int
	volumes map[string]*powerVolume
	pending *operation // was not answered
	control *volumes.Client
}

// operation is a change of what volumes there are.
type operation struct {
	name          string
	before, after *powerVolume // nil: no such volume
}

// maxOwn is how many volumes an operator has.
const maxOwn = 5

func newOperator(w *powerWorld, n int) *operator {
	return &operator{w: w, rng: rand.New(rand.NewPCG(13, uint64(n))), prefix: fmt.Sprintf("own%d-", n), made: 1000 * (n + 1), volumes: map[string]*powerVolume{}}
}

// run goes on until the power has gone.
func (o *operator) run() {
	o.control = dialControl(o.w.t, o.w.p.address())
	defer o.control.Close()
	for !o.w.pause.Load() && o.pending == nil {
		err := o.step()
		if err == nil {
			o.w.counts.operations.Add(1)
		} else if !o.w.dark.Load() {
			o.w.t.Errorf("operator: %v", err)
			return
		}
	}
}

func (o *operator) step() error {
	if len(o.volumes) == 0 {
		return o.create()
	}
	names := slices.Sorted(maps.Keys(o.volumes))
	v := o.volumes[names[o.rng.IntN(len(names))]]
	full := len(names) >= maxOwn
	switch k := o.rng.IntN(9); {
	case k == 0 && !full:
		return o.create()
	case k <= 2 && !full:
		if o.rng.IntN(2) == 0 {
			v = o.w.v
		}
		return o.branch(v, k == 1)
	case k == 3 && !v.readOnly:
		return o.resize(v)
	case k == 4 || full && k == 5:
		return o.delete(v)
	case k == 8: // and what is not in use is freed under the writers
		return o.scrub(o.w.v)
	case !v.readOnly:
		return o.write(v)
	}
	return nil
}

// operate does an operation that call makes.
func (o *operator) operate(op operation, call func(ctx context.Context) error) error {
	o.pending = &op
	err := call(o.w.ctx)
	if remote.KindOf(err) == remote.Busy { // its writer ended with the power, and the monitor has not seen that
		o.pending = nil
		return nil
	}
	if err != nil {
		return err
	}
	o.conclude(op.after)
	return nil
}

// conclude takes note of what became of what is pending.
func (o *operator) conclude(is *powerVolume) {
	delete(o.volumes, o.pending.name)
	if is != nil {
		o.volumes[is.name] = is
	}
	o.pending = nil
}

// resolve finds out what became of it when the power went.
func (o *operator) resolve(found map[string]remote.VolumeInfo) error {
	if o.pending == nil {
		return nil
	}
	info, ok := found[o.pending.name]
	for _, v := range []*powerVolume{o.pending.before, o.pending.after} {
		if v == nil && !ok || v != nil && ok && v.id == info.ID && v.size() == info.Size {
			o.conclude(v)
			return nil
		}
	}
	return fmt.Errorf("volume %s: there: %v, %+v; before the operation that was cut off %+v, after it %+v", o.pending.name, ok, info, o.pending.before, o.pending.after)
}

func (o *operator) fresh(blocks *pasts) *powerVolume {
	o.made++
	return &powerVolume{name: fmt.Sprintf("%s%d", o.prefix, o.made), id: remote.VolumeID(o.made)<<20 | 1, pasts: blocks}
}

func (o *operator) create() error {
	v := o.fresh(newPasts(1 + o.rng.IntN(40)))
	return o.operate(operation{v.name, nil, v}, func(ctx context.Context) error {
		_, err := o.control.CreateVolume(ctx, v.id, v.name, v.size())
		return err
	})
}

func (o *operator) branch(from *powerVolume, readOnly bool) error {
	v := o.fresh(nil)
	v.readOnly = readOnly
	end := from.pasts.capture()
	v.pasts = newPasts(len(from.pasts.blocks)) // until there are better ones
	return o.operate(operation{v.name, nil, v}, func(ctx context.Context) (err error) {
		if readOnly {
			_, err = o.control.SnapshotVolume(ctx, from.name, v.id, v.name)
		} else {
			_, err = o.control.CloneVolume(ctx, from.name, v.id, v.name)
		}
		v.pasts = end()
		return err
	})
}

func (o *operator) resize(v *powerVolume) error {
	blocks := 1 + o.rng.IntN(60)
	if blocks == len(v.pasts.blocks) {
		return nil
	}
	after := *v
	after.pasts = v.pasts.resized(blocks)
	return o.operate(operation{v.name, v, &after}, func(ctx context.Context) error {
		_, err := o.control.ResizeVolume(ctx, v.name, after.size())
		return err
	})
}

func (o *operator) delete(v *powerVolume) error {
	return o.operate(operation{v.name, v, nil}, func(ctx context.Context) error { return o.control.DeleteVolume(ctx, v.name) })
}

func (o *operator) scrub(v *powerVolume) error {
	r, err := o.control.ScrubVolume(o.w.ctx, v.name)
	if err == nil && len(r.Damaged) > 0 {
		o.w.t.Errorf("scrub of volume %s: damaged: %v", v.name, r.Damaged)
	}
	return err
}

// write is a writer that comes, writes some and goes.
func (o *operator) write(v *powerVolume) error {
	client, err := blockclient.Open(o.w.ctx, blockclient.Config{Monitors: []string{o.w.p.address()}, Name: v.name, Log: quietLog()})
	if err != nil {
		return err
	}
	writer := &powerWriter{v: client, pasts: v.pasts, blocks: len(v.pasts.blocks), rng: o.rng}
	for range 1 + o.rng.IntN(12) {
		if err = writer.step(); err != nil || o.w.pause.Load() {
			break
		}
	}
	if closed := client.Close(); closed != nil {
		return errors.Join(err, closed)
	}
	if err == nil {
		v.pasts.flushed(0, len(v.pasts.blocks))
	}
	return err
}
