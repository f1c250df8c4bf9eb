// Package pci is a PCI bus with a host bridge and functions of header type 0,
// as a guest configures them: through ports 0xCF8 and 0xCFC (PCI Local Bus
// 3.0, 3.2.2.3.2) and through ECAM (PCI Express 4.0, 7.2.2); memory BARs that
// the guest sizes and moves; capabilities; MSI-X.
//
// It is not a model of any chip: no bridges behind bus 0, no I/O BARs, no INTx,
// no power states, no extended capabilities. Functions sit at function 0 of a
// device and stay for the life of the machine.
//
// What the machine provides comes in through MMIO, Doorbells and Messages.
// Every access of any width, place and value by a guest is harmless to
// everybody else.
//
// Lock order: Host.mu, then whatever the functions' owners lock in a capability
// hook or MMIO access, then a vector's mu. A BAR's Device is called without
// Host.mu. MSIX.Signal takes a vector's mu only and may be called with any
// lock held.
package pci

import (
	"splitvm/guest/layout"
	"splitvm/vmm/bus"
)

// MMIO is the address space in which BARs decode; *bus.Bus is one.
type MMIO interface {
	Add(base, size uint64, d bus.Device) error
	Remove(base uint64) error
}

// Doorbells turns guest writes into eventfd signals within the kernel
// (ioeventfd).
type Doorbells interface {
	// Attach makes a guest's write of size bytes at gpa, whatever its value,
	// signal the eventfd fd instead of reaching the MMIO device there. Size 0
	// is a write of any width. When it fails the writes reach the device.
	Attach(gpa layout.GPA, size, fd int) error
	// Detach undoes an Attach with the same arguments.
	Detach(gpa layout.GPA, size, fd int) error
}

// Messages makes interrupt messages: on KVM an irqfd each, and a route.
type Messages interface {
	// NewMessage makes a message that goes nowhere yet. An error is a limit of
	// the host.
	NewMessage() (Message, error)
}

// Message is one message-signalled interrupt.
type Message interface {
	// Route says what Signal sends from now on: the address and data that the
	// guest programmed. Any values may come. After an error the route is as
	// before.
	Route(addr uint64, data uint32) error
	// Signal sends the message. It doesn't block.
	Signal()
	// Close gives the message's resources back.
	Close() error
}

// ID is how a function presents itself in its configuration space.
type ID struct {
	Vendor, Device       uint16
	SubVendor, SubDevice uint16
	Revision             uint8
	Class                uint32 // class, subclass, interface: 24 bits
}
