package rawfile

import "golang.org/x/sys/unix"

// discard gives the range back to the file system or the device. One that
// can't is no error: a discard is a hint.
func (d *Disk) discard(off, n uint64) error {
	var err error
	if d.device {
		d.partial.RLock()
		defer d.partial.RUnlock()
		err = discardDevice(d.fd, off, n)
	} else {
		err = d.allocate(unix.FALLOC_FL_PUNCH_HOLE, off, n)
	}
	if unsupported(err) {
		return nil
	}
	return err
}

// writeZeroes makes the range read as zeroes: deallocated where the guest
// allows it, else allocated and marked, else written.
func (d *Disk) writeZeroes(off, n uint64, unmap bool) error {
	if unmap && !d.noPunch.Load() {
		err := d.allocate(unix.FALLOC_FL_PUNCH_HOLE, off, n)
		if !unsupported(err) {
			return err
		}
		d.noPunch.Store(true)
	}
	if !d.noZero.Load() {
		err := d.allocate(unix.FALLOC_FL_ZERO_RANGE, off, n)
		if !unsupported(err) {
			return err
		}
		d.noZero.Store(true)
	}
	return d.fill(off, n)
}

func (d *Disk) allocate(how uint32, off, n uint64) error {
	d.partial.RLock()
	defer d.partial.RUnlock()
	return again(func() error {
		return unix.Fallocate(d.fd, how|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	})
}

var zeroes = pageAligned(1 << 20)

// fill writes zeroes.
func (d *Disk) fill(off, n uint64) error {
	if d.direct {
		return d.bounce(true, nil, off, n)
	}
	for n > 0 {
		k := min(n, uint64(len(zeroes)))
		if err := writeAll(d.fd, zeroes[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

func unsupported(err error) bool {
	return err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.ENOTTY
}
