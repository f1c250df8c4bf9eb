// Package virtio says what a virtio device is to its transport and what a
// transport gives to a device, after the virtio 1.2 specification
// (docs.oasis-open.org/virtio/virtio/v1.2).
//
// A Device is written once and knows nothing of PCI or KVM. A transport
// (package virtio/pci) negotiates with the driver, and at DRIVER_OK hands the
// device its queues. From then on the device's own goroutines serve them: a
// guest's notification arrives at a Queue's Kick, an eventfd that KVM signals
// without the vCPU leaving the kernel, and Notify interrupts the guest.
//
// The order of calls: Describe, ReadConfig and WriteConfig at any time, also
// concurrently with everything else; Activate and Reset alternate and never
// overlap, beginning with Activate.
package virtio

import (
	"splitvm/vmm/memory"
)

// DeviceID is a virtio device type (virtio 1.2, section 5).
type DeviceID uint16

// Device types that exist here.
const (
	IDNet     DeviceID = 1
	IDBlock   DeviceID = 2
	IDConsole DeviceID = 3
	IDEntropy DeviceID = 4
	IDVsock   DeviceID = 19
)

// Description is what a device is, fixed for its life.
type Description struct {
	ID         DeviceID
	Features   Features // the device type's own bits; the transport adds its own
	Queues     []uint16 // the most entries of each queue, powers of two
	ConfigSize int      // bytes of the device configuration structure
}

// Device is one virtio device.
type Device interface {
	Describe() Description

	// ReadConfig fills p, which has ConfigSize bytes, with the whole device
	// configuration as of one moment. It is called on vCPU threads and must
	// not block.
	ReadConfig(p []byte)

	// WriteConfig is a driver's write of p at off, which lie within
	// ConfigSize. What the device does not let a driver write is ignored.
	WriteConfig(off int, p []byte)

	// Activate starts the device with what was negotiated: the driver set
	// DRIVER_OK. It is called on a vCPU thread and must not wait for the
	// guest. After an error the transport sets DEVICE_NEEDS_RESET, and Reset
	// is not called.
	Activate(Activation) error

	// Reset stops the device. It returns when no goroutine or system call of
	// the device touches guest memory or a queue any more, and then the
	// device is as before Activate. The queues' Kicks stay the transport's.
	Reset()
}

// Activation is what a transport hands to a device at DRIVER_OK.
type Activation struct {
	Features Features // all bits negotiated, the transport's too
	Memory   *memory.Memory
	Queues   []*Queue // by index as in Description; nil where the driver enabled none

	// ConfigChanged tells the driver that the device configuration is another
	// one. Any goroutine may call it, with any lock held.
	ConfigChanged func()

	// Fail says that the device cannot go on (a broken ring, a request that
	// is not one): the transport logs err and sets DEVICE_NEEDS_RESET, and
	// the device serves nothing until Reset. Any goroutine may call it, more
	// than once, with any lock held.
	Fail func(err error)
}
