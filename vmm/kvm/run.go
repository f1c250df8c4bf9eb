package kvm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Layout of struct kvm_run (include/uapi/linux/kvm.h, x86).
const (
	offImmediateExit   = 0 // request_interrupt_window u8, immediate_exit u8, flags: as one word
	immediateExitShift = 8
	offExitReason      = 8
	offUnion           = 32
	offValidRegs       = 288
	offDirtyRegs       = 296
	offSyncRegs        = 304
)

// ErrInterrupted says that Run came back for a signal or Kick, not for an exit.
var ErrInterrupted = errors.New("KVM_RUN interrupted")

// Reason is why a guest left KVM_RUN (KVM_EXIT_*).
type Reason uint32

// Exit reasons that the VMM acts on.
const (
	ExitUnknown       Reason = 0
	ExitIO            Reason = 2
	ExitHypercall     Reason = 3
	ExitDebug         Reason = 4
	ExitHLT           Reason = 5
	ExitMMIO          Reason = 6
	ExitShutdown      Reason = 8
	ExitFailEntry     Reason = 9
	ExitInternalError Reason = 17
	ExitSystemEvent   Reason = 24
	ExitMemoryFault   Reason = 39
)

// Run enters the guest until it exits. ErrInterrupted after a signal or Kick;
// any other error is KVM's, and EFAULT means that the guest touched memory
// which could not be made present.
func (v *VCPU) Run() (Reason, error) {
	switch errno := runIoctl(v.fd); errno {
	case 0:
		return Reason(*view[uint32](v.page, offExitReason)), nil
	case unix.EINTR, unix.EAGAIN:
		return 0, ErrInterrupted
	case unix.EFAULT:
		if v.reason() == ExitMemoryFault {
			return ExitMemoryFault, nil
		}
		return 0, wrap("KVM_RUN", errno)
	default:
		return 0, wrap("KVM_RUN", errno)
	}
}

func (v *VCPU) reason() Reason { return Reason(*view[uint32](v.page, offExitReason)) }

// IO is a port access: Data holds Count values of Size bytes, to be read when
// Out, else to be filled.
type IO struct {
	Out  bool
	Size int
	Port uint16
	Data []byte
}

type ioExit struct {
	direction, size uint8
	port            uint16
	count           uint32
	dataOffset      uint64
}

// IO decodes the port access of an ExitIO; Data lies in the run area.
func (v *VCPU) IO() IO {
	e := view[ioExit](v.page, offUnion)
	n := uint64(e.size) * uint64(e.count)
	return IO{Out: e.direction == 1, Size: int(e.size), Port: e.port, Data: v.page[e.dataOffset : e.dataOffset+n]}
}

// MMIO is an access to an address that is no RAM: Data is to be read when
// Write, else to be filled.
type MMIO struct {
	Addr  uint64
	Write bool
	Data  []byte
}

type mmioExit struct {
	addr    uint64
	data    [8]byte
	len     uint32
	isWrite uint8
}

// MMIO decodes an ExitMMIO; Data lies in the run area.
func (v *VCPU) MMIO() MMIO {
	e := view[mmioExit](v.page, offUnion)
	return MMIO{Addr: e.addr, Write: e.isWrite != 0, Data: e.data[:min(e.len, 8)]}
}

// SystemEvent decodes the type of an ExitSystemEvent.
func (v *VCPU) SystemEvent() uint32 { return *view[uint32](v.page, offUnion) }

// MemoryFault is the range of an ExitMemoryFault (Linux 6.8).
type MemoryFault struct{ Flags, GPA, Size uint64 }

// MemoryFault decodes an ExitMemoryFault.
func (v *VCPU) MemoryFault() MemoryFault { return *view[MemoryFault](v.page, offUnion) }

type internalError struct {
	suberror, ndata uint32
	data            [16]uint64
}

// KVM_INTERNAL_ERROR_EMULATION and its flag that instruction bytes follow.
const (
	internalEmulation  = 1
	emulationHasOpcode = 1
)

// Describe turns the current exit into an error text for the exits that end a
// guest: internal error, failed entry, unknown.
func (v *VCPU) Describe() error {
	switch r := v.reason(); r {
	case ExitInternalError:
		e := view[internalError](v.page, offUnion)
		if e.suberror == internalEmulation && e.ndata >= 3 && e.data[0]&emulationHasOpcode != 0 {
			raw := bytesOf(&e.data)[8:]
			n := min(int(raw[0]), 15)
			return fmt.Errorf("KVM could not emulate the guest's instruction % x", raw[1:1+n])
		}
		return fmt.Errorf("KVM internal error, suberror %d, data %#x", e.suberror, e.data[:min(e.ndata, 4)])
	case ExitFailEntry:
		return fmt.Errorf("KVM could not enter the guest, hardware reason %#x", *view[uint64](v.page, offUnion))
	case ExitMemoryFault:
		f := v.MemoryFault()
		return fmt.Errorf("guest memory fault at %#x, %#x bytes, flags %#x", f.GPA, f.Size, f.Flags)
	default:
		return fmt.Errorf("unexpected KVM exit %d", r)
	}
}
