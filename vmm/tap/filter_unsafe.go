package tap

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/net"
)

// setFilter makes the kernel give us only frames that pass. Its result is the
// number of exact matches.
func (t *Tap) setFilter(f net.Filter) error {
	p := filterOf(f)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.fds[0]), unix.TUNSETTXFILTER, uintptr(unsafe.Pointer(&p[0]))); errno != 0 {
		return fmt.Errorf("tap %s: TUNSETTXFILTER: %w", t.name, errno)
	}
	return nil
}
