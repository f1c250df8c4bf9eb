package rawfile

import (
	"fmt"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/block"
)

// pageBlock is the page cache's and nearly every file system's block size.
const pageBlock = 4096

// inspectBlocks finds the block sizes that the guest should know of, and what
// O_DIRECT asks. The guest's own unit stays the sector whatever the host's is:
// a partition table in the image counts in it.
func (d *Disk) inspectBlocks() error {
	d.info.PhysicalBlock = pageBlock
	if d.device {
		logical, err := unix.IoctlGetInt(d.fd, unix.BLKSSZGET)
		if err != nil {
			return fmt.Errorf("find out the sector size: %w", err)
		}
		physical, err := unix.IoctlGetInt(d.fd, unix.BLKPBSZGET)
		if err != nil {
			return fmt.Errorf("find out the physical block size: %w", err)
		}
		d.info.BlockSize, d.info.PhysicalBlock = sane(logical), sane(physical)
	}
	if !d.direct {
		return nil
	}
	d.align = directAlignment(d.fd)
	if d.align.offset > bounceSize || d.align.memory > pageBlock {
		return fmt.Errorf("direct I/O wants an alignment of %d bytes; use the writeback cache mode", d.align.offset)
	}
	if size := d.info.Size; !d.info.ReadOnly && size%d.align.offset != 0 {
		return fmt.Errorf("its size of %d bytes is not a multiple of the %d that direct I/O needs; use the writeback cache mode, or truncate -s %%%d",
			size, d.align.offset, d.align.offset)
	}
	return nil
}

// directAlignment asks the kernel (STATX_DIOALIGN, Linux 6.1), and takes what
// always works where that has no answer.
func directAlignment(fd int) alignment {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 || st.Dio_offset_align == 0 || st.Dio_mem_align == 0 {
		return alignment{memory: pageBlock, offset: pageBlock}
	}
	return alignment{memory: uint64(st.Dio_mem_align), offset: uint64(st.Dio_offset_align)}
}

// sane is a block size that a guest can be told; the plain sector otherwise.
func sane(n int) uint32 {
	if n < block.SectorSize || n > 1<<16 || n&(n-1) != 0 {
		return block.SectorSize
	}
	return uint32(n)
}
