package vmm

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/kvm"
)

// ioapicPins is the number of GSIs that go to IOAPIC pins; message-signalled
// interrupts have the numbers above.
const ioapicPins = 24

// cascade is the PIC input that the second PIC hangs on: no interrupt of its own.
const cascade = 2

// maxGSI is what KVM takes on x86 (KVM_MAX_IRQ_ROUTES).
const maxGSI = 4096

// interrupts owns the GSI routing table. KVM replaces it as a whole.
type interrupts struct {
	vm *kvm.VM

	mu   sync.Mutex
	base []kvm.Route         // the controllers' pins; immutable
	msis map[uint32]*kvm.MSI // by GSI; nil value: allocated, not routed. Guarded by mu
	live map[uint32]*MSILine // guarded by mu
}

// newInterrupts installs the controllers' wiring as a PC has it.
func newInterrupts(vm *kvm.VM) (*interrupts, error) {
	in := &interrupts{vm: vm, msis: map[uint32]*kvm.MSI{}, live: map[uint32]*MSILine{}}
	for i := range uint32(ioapicPins) {
		if i < 8 && i != cascade {
			in.base = append(in.base, kvm.Route{GSI: i, Chip: kvm.PICMaster, Pin: i})
		} else if i >= 8 && i < 16 {
			in.base = append(in.base, kvm.Route{GSI: i, Chip: kvm.PICSlave, Pin: i - 8})
		}
		pin := i
		if i == 0 { // the PIT; the MADT and the MP table say so too
			pin = 2
		}
		if i != cascade {
			in.base = append(in.base, kvm.Route{GSI: i, Chip: kvm.IOAPIC, Pin: pin})
		}
	}
	return in, in.commit()
}

// MSILine is one message-signalled interrupt: an eventfd whose signal KVM
// turns into the message that the guest last wrote for it, with no exit and no
// VMM code in between.
type MSILine struct {
	in  *interrupts
	gsi uint32
	fd  int
}

// NewMSI makes a line without a route: signals are lost until Route.
func (vm *VM) NewMSI() (*MSILine, error) {
	in := vm.irqs
	if in == nil {
		return nil, errors.New("message-signalled interrupt: VM has no interrupt controller")
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("message-signalled interrupt: eventfd: %w", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for gsi := uint32(ioapicPins); gsi < maxGSI; gsi++ {
		if _, taken := in.msis[gsi]; !taken {
			l := &MSILine{in: in, gsi: gsi, fd: fd}
			in.msis[gsi], in.live[gsi] = nil, l
			return l, nil
		}
	}
	unix.Close(fd)
	return nil, fmt.Errorf("message-signalled interrupt: all %d GSIs are taken", maxGSI)
}

// FD is the eventfd that raises the interrupt.
func (l *MSILine) FD() int { return l.fd }

// Route makes the line deliver the message from now on.
func (l *MSILine) Route(addr uint64, data uint32) error {
	in := l.in
	in.mu.Lock()
	defer in.mu.Unlock()
	old := in.msis[l.gsi]
	if old != nil && uint64(old.Addr) == addr && old.Data == data {
		return nil
	}
	in.msis[l.gsi] = &kvm.MSI{Addr: layout.GPA(addr), Data: data}
	if err := in.commit(); err != nil {
		in.msis[l.gsi] = old
		return fmt.Errorf("route GSI %d to %#x: %w", l.gsi, addr, err)
	}
	if old == nil {
		return in.vm.AddIRQFD(l.fd, l.gsi)
	}
	return nil
}

// Signal raises the interrupt. It doesn't block: where the counter is full,
// an interrupt is pending already.
func (l *MSILine) Signal() {
	one := [8]byte{1}
	unix.Write(l.fd, one[:])
}

// Close takes the line away.
func (l *MSILine) Close() error {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	return l.in.drop(l)
}

func (in *interrupts) drop(l *MSILine) error {
	if in.live[l.gsi] != l {
		return nil
	}
	var err error
	if in.msis[l.gsi] != nil {
		err = in.vm.RemoveIRQFD(l.fd, l.gsi)
	}
	delete(in.msis, l.gsi)
	delete(in.live, l.gsi)
	return errors.Join(err, unix.Close(l.fd))
}

// commit installs the table; in.mu is held.
func (in *interrupts) commit() error {
	routes := slices.Clone(in.base)
	for gsi, m := range in.msis {
		if m != nil {
			routes = append(routes, kvm.Route{GSI: gsi, MSI: m})
		}
	}
	return in.vm.SetRoutes(routes)
}

func (in *interrupts) close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	var errs []error
	for _, l := range in.live {
		errs = append(errs, in.drop(l))
	}
	return errors.Join(errs...)
}
