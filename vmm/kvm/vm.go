package kvm

import (
	"errors"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
)

// VM is one virtual machine. Close it after its VCPUs.
type VM struct {
	fd     int
	runLen int
}

// Close gives the VM back to the kernel.
func (vm *VM) Close() error { return unix.Close(vm.fd) }

// Extension asks for a capability of this VM (KVM_CHECK_EXTENSION on the VM).
func (vm *VM) Extension(c gokvm.Capability) int { return checkExtension(vm.fd, int(c)) }

// CreateIRQChip makes the in-kernel PIC, IOAPIC and local APICs.
func (vm *VM) CreateIRQChip() error {
	_, err := ioctl(vm.fd, gokvm.IIO(nrCreateIRQChip), 0)
	return wrap("KVM_CREATE_IRQCHIP", err)
}

type pitConfig struct {
	flags uint32
	_     [15]uint32
}

// pitSpeakerDummy makes KVM answer for port 0x61 too.
const pitSpeakerDummy = 1

// CreatePIT makes the in-kernel i8254.
func (vm *VM) CreatePIT() error {
	_, err := ioctlPtr(vm.fd, gokvm.IIOW(nrCreatePIT2, sizeof[pitConfig]()), &pitConfig{flags: pitSpeakerDummy})
	return wrap("KVM_CREATE_PIT2", err)
}

// SetTSSAddr places the three pages that Intel hosts without unrestricted
// guest need.
func (vm *VM) SetTSSAddr(gpa layout.GPA) error {
	_, err := ioctl(vm.fd, gokvm.IIO(nrSetTSSAddr), uintptr(gpa))
	return wrap("KVM_SET_TSS_ADDR", err)
}

// SetIdentityMapAddr places the identity page table of such hosts.
func (vm *VM) SetIdentityMapAddr(gpa layout.GPA) error {
	addr := uint64(gpa)
	_, err := ioctlPtr(vm.fd, gokvm.IIOW(nrSetIdentityMapAddr, 8), &addr)
	return wrap("KVM_SET_IDENTITY_MAP_ADDR", err)
}

// SlotFlags are KVM_MEM_* of a memory slot.
type SlotFlags uint32

// Slot flags.
const (
	LogDirtyPages SlotFlags = 1 << 0
	ReadOnly      SlotFlags = 1 << 1
)

// SetSlot maps size bytes at host address hva to gpa; size 0 deletes the slot.
func (vm *VM) SetSlot(slot uint32, flags SlotFlags, gpa layout.GPA, size uint64, hva uintptr) error {
	r := gokvm.UserspaceMemoryRegion{
		Slot: slot, Flags: uint32(flags), GuestPhysAddr: uint64(gpa), MemorySize: size, UserspaceAddr: uint64(hva),
	}
	if _, err := ioctlPtr(vm.fd, gokvm.IIOW(nrSetMemoryRegion, sizeof[gokvm.UserspaceMemoryRegion]()), &r); err != nil {
		return fmt.Errorf("memory slot %d at %#x, %#x bytes: %w", slot, gpa, size, wrap("KVM_SET_USER_MEMORY_REGION", err))
	}
	return nil
}

type dirtyLog struct {
	slot   uint32
	_      uint32
	bitmap uint64
}

// DirtyLog fetches and clears the dirty bitmap of a slot of pages pages: bit
// i%64 of word i/64 is page i. The slot must have LogDirtyPages.
func (vm *VM) DirtyLog(slot uint32, pages uint64) ([]uint64, error) {
	bitmap := make([]uint64, (pages+63)/64)
	if len(bitmap) == 0 {
		return nil, errors.New("KVM_GET_DIRTY_LOG: empty slot")
	}
	if err := getDirtyLog(vm.fd, slot, bitmap); err != nil {
		return nil, fmt.Errorf("dirty log of slot %d: %w", slot, err)
	}
	return bitmap, nil
}

type enableCap struct {
	cap, flags uint32
	args       [4]uint64
	_          [64]byte
}

// EnableCap turns on a capability of the VM (KVM_ENABLE_CAP).
func (vm *VM) EnableCap(c gokvm.Capability, args ...uint64) error {
	e := enableCap{cap: uint32(c)}
	copy(e.args[:], args)
	_, err := ioctlPtr(vm.fd, gokvm.IIOW(nrEnableCap, sizeof[enableCap]()), &e)
	return wrap(fmt.Sprintf("KVM_ENABLE_CAP %v", c), err)
}

// Clock reads kvmclock (KVM_GET_CLOCK).
func (vm *VM) Clock() (gokvm.ClockData, error) {
	var c gokvm.ClockData
	_, err := ioctlPtr(vm.fd, gokvm.IIOR(nrGetClock, sizeof[gokvm.ClockData]()), &c)
	return c, wrap("KVM_GET_CLOCK", err)
}

// SetClock sets kvmclock (KVM_SET_CLOCK).
func (vm *VM) SetClock(c gokvm.ClockData) error {
	_, err := ioctlPtr(vm.fd, gokvm.IIOW(nrSetClock, sizeof[gokvm.ClockData]()), &c)
	return wrap("KVM_SET_CLOCK", err)
}
