// Package usernet plugs a virtio network device into a port of a virtual
// network (package network), which needs no tap and no privileges: the device
// reads and writes frames on one end of a SOCK_SEQPACKET socket pair, the port
// has the other.
//
// It is the cable only: who owns the switch, in this process or another, and
// how the other end gets there, is for its caller.
package usernet

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"splitvm/remote/network"
	virtionet "splitvm/vmm/virtio/net"
)

// socketBuffer is asked for, to have several frames of 64 KiB on the way; the
// kernel gives as much of it as net.core.wmem_max allows.
const socketBuffer = 4 << 20

// Cable is a device's end of a socket pair.
type Cable struct {
	fd     int
	accept func(network.Offload) error
}

var _ virtionet.Backend = (*Cable)(nil)

// Pair makes a cable and the port's end of it. The latter is the caller's to
// close or to hand on.
func Pair() (*Cable, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a network cable: socketpair: %w", err)
	}
	for _, fd := range fds {
		if err := setBuffer(fd); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("make a network cable: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
		}
	}
	return &Cable{fd: fds[0]}, os.NewFile(uintptr(fds[1]), "network port"), nil
}

func setBuffer(fd int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer) == nil {
		return nil // beyond wmem_max, which root may
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
}

// OnAccept has the port told which work the guest's driver does itself. It must
// be set before the device starts.
func (c *Cable) OnAccept(f func(network.Offload) error) { c.accept = f }

// Queues is the one descriptor.
func (c *Cable) Queues() []int { return []int{c.fd} }

// Offloads is what the network takes off guests and gives to them.
func (c *Cable) Offloads() virtionet.Offload { return virtionet.Checksum | virtionet.TSO4 }

// Apply tells the port what the driver takes. The port filters by address
// whatever the driver asks for: nothing but its own and groups' frames come.
func (c *Cable) Apply(s virtionet.Settings) error {
	if s.Pairs != 1 {
		return fmt.Errorf("network cable: %d queue pairs of 1", s.Pairs)
	}
	var o network.Offload
	if s.Accept.Has(virtionet.Checksum) {
		o |= network.Checksum
	}
	if s.Accept.Has(virtionet.TSO4) {
		o |= network.TSO4
	}
	return c.accept(o)
}

// Close pulls the cable: the port ends.
func (c *Cable) Close() error {
	if err := unix.Close(c.fd); err != nil {
		return fmt.Errorf("close a network cable: %w", err)
	}
	return nil
}
