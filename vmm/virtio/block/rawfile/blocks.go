package rawfile

import (
	"fmt"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/block"
)

// inspectBlocks finds the block sizes that the guest should know of.
func (d *Disk) inspectBlocks() error {
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
		return nil
	}
	d.info.PhysicalBlock = 4096 // of the page cache and of every file system that matters
	return nil
}

// sane is a block size that a guest can be told; the plain sector otherwise.
func sane(n int) uint32 {
	if n < block.SectorSize || n > 1<<16 || n&(n-1) != 0 {
		return block.SectorSize
	}
	return uint32(n)
}
