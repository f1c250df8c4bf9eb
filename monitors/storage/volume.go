package storage

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"splitvm/monitors/storage/layer"
	"splitvm/remote"
)

// Volume is an open volume.
type Volume struct {
	store *Store

	mu      sync.RWMutex
	record  volumeRecord // guarded by mu
	stack   []part       // guarded by mu; the top layer first
	deleted bool         // guarded by mu
	writer  writer       // guarded by mu
}

// part is one layer of a volume's stack.
type part struct {
	*layer.Layer
	visible uint64 // how many blocks of the next part show through
}

// span checks a request against the volume.
// Preconditions: mu is held.
func (v *Volume) span(off, n uint64) error {
	switch {
	case v.deleted:
		return remote.NoVolume
	case off%remote.SectorSize != 0 || n%remote.SectorSize != 0 || n == 0:
		return remote.Range
	case off > v.record.Size || n > v.record.Size-off:
		return remote.Range
	}
	return nil
}

// allows checks a change: its epoch and whether the volume takes any.
// Preconditions: mu is held.
func (v *Volume) allows(epoch remote.Epoch) error {
	switch {
	case v.record.ReadOnly:
		return remote.ReadOnly
	case epoch < v.record.Epoch:
		return remote.StaleEpoch
	case epoch > v.record.Epoch:
		return remote.FutureEpoch
	}
	return nil
}

// Read fills p from byte off on. With now it fails with layer.ErrWouldBlock
// instead of waiting for a disk.
func (v *Volume) Read(off uint64, p []byte, now bool) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.span(off, uint64(len(p))); err != nil {
		return err
	}
	return outcome(v.read(off, p, now))
}

func (v *Volume) read(off uint64, p []byte, now bool) error {
	if off%remote.BlockSize == 0 && len(p)%remote.BlockSize == 0 {
		return v.readFrom(0, off/remote.BlockSize, p, now)
	}
	first := off / remote.BlockSize
	n := (off+uint64(len(p))+remote.BlockSize-1)/remote.BlockSize - first
	whole := make([]byte, n*remote.BlockSize)
	if err := v.readFrom(0, first, whole, now); err != nil {
		return err
	}
	copy(p, whole[off-first*remote.BlockSize:])
	return nil
}

// readFrom reads blocks from the parts of the stack from level on.
func (v *Volume) readFrom(level int, first uint64, buf []byte, now bool) error {
	return v.stack[level].Read(first, buf, now, v.below(level, now))
}

// below reads what the part at level does not hold.
func (v *Volume) below(level int, now bool) layer.Absent {
	if level+1 == len(v.stack) {
		return layer.Zeroes
	}
	return func(first uint64, buf []byte) error {
		show := uint64(0)
		if limit := min(v.stack[level].visible, v.stack[level+1].Blocks()); first < limit {
			show = min(limit-first, uint64(len(buf)/remote.BlockSize))
		}
		clear(buf[show*remote.BlockSize:])
		if show == 0 {
			return nil
		}
		return v.readFrom(level+1, first, buf[:show*remote.BlockSize], now)
	}
}

// Write stores p from byte off on.
func (v *Volume) Write(epoch remote.Epoch, off uint64, p []byte) error {
	return v.change(epoch, off, uint64(len(p)), func() error { return v.write(off, p) })
}

// change runs do where the request is one that may be done, and once more after
// making room if the file system was full.
func (v *Volume) change(epoch remote.Epoch, off, n uint64, do func() error) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.span(off, n); err != nil {
		return err
	}
	if err := v.allows(epoch); err != nil {
		return err
	}
	err := do()
	if isFull(err) && v.stack[0].Reclaim() == nil {
		err = do()
	}
	return outcome(err)
}

func (v *Volume) write(off uint64, p []byte) error {
	for len(p) > 0 {
		block, in := off/remote.BlockSize, off%remote.BlockSize
		var n int
		var err error
		if in == 0 && len(p) >= remote.BlockSize {
			n = len(p) &^ (remote.BlockSize - 1)
			err = v.stack[0].Write(block, p[:n])
		} else {
			n = int(min(uint64(len(p)), remote.BlockSize-in))
			err = v.stack[0].Modify(block, int(in), p[:n], v.below(0, false))
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+uint64(n)
	}
	return nil
}

// Zero makes a range read as zeroes and frees whole blocks of it. What a block
// has of it in part is zeroed as well.
func (v *Volume) Zero(epoch remote.Epoch, off, n uint64) error {
	return v.change(epoch, off, n, func() error {
		head := min(n, -off%remote.BlockSize)
		tail := (n - head) % remote.BlockSize
		var zeroes [remote.BlockSize]byte
		err := errors.Join(v.write(off, zeroes[:head]), v.write(off+n-tail, zeroes[:tail]))
		if whole := n - head - tail; err == nil && whole > 0 {
			err = v.stack[0].Zero((off+head)/remote.BlockSize, whole/remote.BlockSize, len(v.stack) > 1)
		}
		return err
	})
}

// Flush returns when all that was answered before is on stable storage, with the
// top layer's generation that is.
func (v *Volume) Flush() (uint64, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.deleted {
		return 0, remote.NoVolume
	}
	if v.record.ReadOnly {
		return 0, nil
	}
	gen, err := v.stack[0].Flush()
	return gen, outcome(err)
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// outcome gives an error its kind.
func outcome(err error) error {
	switch {
	case err == nil, errors.Is(err, layer.ErrWouldBlock):
		return err
	case errors.Is(err, layer.ErrDamaged):
		return fmt.Errorf("%w: %w", remote.Damaged, err)
	case isFull(err):
		return fmt.Errorf("%w: %w", remote.Full, err)
	case remote.KindOf(err) != remote.Internal:
		return err
	}
	return fmt.Errorf("%w: %w", remote.Internal, err)
}

// setCommon notes a generation that all members have.
func (v *Volume) setCommon(gen uint64) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	v.stack[0].SetCommon(gen)
}
