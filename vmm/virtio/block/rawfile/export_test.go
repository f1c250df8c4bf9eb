package rawfile

// AsIfAligned has the disk work as if O_DIRECT asked for n bytes.
func (d *Disk) AsIfAligned(n uint64) { d.align = alignment{memory: n, offset: n} }

// AsIfNoFallocate has the disk write zeroes itself.
func (d *Disk) AsIfNoFallocate() {
	d.noPunch.Store(true)
	d.noZero.Store(true)
}

// AsIfNoRing has the disk use its pool for what an io_uring would do.
func (d *Disk) AsIfNoRing() { d.noRing.Store(true) }
