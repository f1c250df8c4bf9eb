package kvm

import (
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/layout"
)

type ioEventFD struct {
	datamatch uint64
	addr      uint64
	len       uint32
	fd        int32
	flags     uint32
	_         [36]byte
}

const (
	ioEventFDDatamatch = 1 << 0
	ioEventFDPIO       = 1 << 1
	ioEventFDDeassign  = 1 << 2
)

// Doorbell says which guest write signals an eventfd.
type Doorbell struct {
	Addr  uint64
	Size  uint32 // 1, 2, 4 or 8 bytes; 0 for any (MMIO only)
	Port  bool   // a port, not an MMIO address
	Match *uint64
}

// AddDoorbell makes the guest's write signal fd (KVM_IOEVENTFD) instead of
// leaving KVM_RUN.
func (vm *VM) AddDoorbell(d Doorbell, fd int) error { return vm.ioEventFD(d, fd, 0) }

// RemoveDoorbell undoes AddDoorbell of the same doorbell and fd.
func (vm *VM) RemoveDoorbell(d Doorbell, fd int) error {
	return vm.ioEventFD(d, fd, ioEventFDDeassign)
}

func (vm *VM) ioEventFD(d Doorbell, fd int, flags uint32) error {
	e := ioEventFD{addr: d.Addr, len: d.Size, fd: int32(fd), flags: flags}
	if d.Port {
		e.flags |= ioEventFDPIO
	}
	if d.Match != nil {
		e.flags |= ioEventFDDatamatch
		e.datamatch = *d.Match
	}
	if _, err := ioctlPtr(vm.fd, gokvm.IIOW(nrIOEventFD, sizeof[ioEventFD]()), &e); err != nil {
		return fmt.Errorf("doorbell at %#x: %w", d.Addr, wrap("KVM_IOEVENTFD", err))
	}
	return nil
}

type irqFD struct {
	fd, gsi, flags, resample uint32
	_                        [16]byte
}

const irqFDDeassign = 1 << 0

// AddIRQFD makes a signal of fd raise gsi, through its current route.
func (vm *VM) AddIRQFD(fd int, gsi uint32) error { return vm.irqFD(fd, gsi, 0) }

// RemoveIRQFD undoes AddIRQFD.
func (vm *VM) RemoveIRQFD(fd int, gsi uint32) error { return vm.irqFD(fd, gsi, irqFDDeassign) }

func (vm *VM) irqFD(fd int, gsi, flags uint32) error {
	f := irqFD{fd: uint32(fd), gsi: gsi, flags: flags}
	if _, err := ioctlPtr(vm.fd, gokvm.IIOW(nrIRQFD, sizeof[irqFD]()), &f); err != nil {
		return fmt.Errorf("irqfd for GSI %d: %w", gsi, wrap("KVM_IRQFD", err))
	}
	return nil
}

// Interrupt controllers of a Route.
const (
	PICMaster = 0
	PICSlave  = 1
	IOAPIC    = 2
)

// Route says where a GSI goes: to a pin of a controller, or, with MSI set, to
// a message.
type Route struct {
	GSI  uint32
	Chip uint32 // PICMaster, PICSlave or IOAPIC
	Pin  uint32
	MSI  *MSI
}

// MSI is a message-signalled interrupt as the guest wrote it into a table.
type MSI struct {
	Addr layout.GPA
	Data uint32
}

type routeEntry struct { // struct kvm_irq_routing_entry, 48 bytes
	gsi, kind, flags, _ uint32
	u                   [8]uint32
}

const (
	routeIRQChip = 1
	routeMSI     = 2
)

func (r Route) entry() routeEntry {
	if r.MSI == nil {
		return routeEntry{gsi: r.GSI, kind: routeIRQChip, u: [8]uint32{r.Chip, r.Pin}}
	}
	return routeEntry{gsi: r.GSI, kind: routeMSI, u: [8]uint32{uint32(r.MSI.Addr), uint32(r.MSI.Addr >> 32), r.MSI.Data}}
}

// SetRoutes replaces the whole GSI routing table (KVM_SET_GSI_ROUTING).
func (vm *VM) SetRoutes(routes []Route) error {
	buf := make([]byte, 8, 8+48*len(routes))
	*view[uint32](buf, 0) = uint32(len(routes))
	for _, r := range routes {
		e := r.entry()
		buf = append(buf, bytesOf(&e)...)
	}
	_, err := ioctlBytes(vm.fd, gokvm.IIOW(nrSetGSIRouting, 8), buf)
	return wrap("KVM_SET_GSI_ROUTING", err)
}

type irqLevel struct{ gsi, level uint32 }

// SetLine drives a GSI's level (KVM_IRQ_LINE).
func (vm *VM) SetLine(gsi uint32, high bool) error {
	l := irqLevel{gsi: gsi}
	if high {
		l.level = 1
	}
	_, err := ioctlPtr(vm.fd, gokvm.IIOW(nrIRQLine, sizeof[irqLevel]()), &l)
	return wrap("KVM_IRQ_LINE", err)
}

type msi struct {
	addrLo, addrHi, data, flags, devID uint32
	_                                  [12]byte
}

// SignalMSI delivers a message at once (KVM_SIGNAL_MSI). It tells whether the
// guest took it: a guest may block the target interrupt.
func (vm *VM) SignalMSI(m MSI) (delivered bool, err error) {
	k := msi{addrLo: uint32(m.Addr), addrHi: uint32(m.Addr >> 32), data: m.Data}
	n, err := ioctlPtr(vm.fd, gokvm.IIOW(nrSignalMSI, sizeof[msi]()), &k)
	return n > 0, wrap("KVM_SIGNAL_MSI", err)
}
