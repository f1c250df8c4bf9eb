package kvm

import (
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

func get[T any](v *VCPU, call string, nr uintptr) (T, error) {
	var s T
	_, err := ioctlPtr(v.fd, gokvm.IIOR(nr, sizeof[T]()), &s)
	return s, wrap(call, err)
}

func set[T any](v *VCPU, call string, nr uintptr, s *T) error {
	_, err := ioctlPtr(v.fd, gokvm.IIOW(nr, sizeof[T]()), s)
	return wrap(call, err)
}

// Regs reads the general registers.
func (v *VCPU) Regs() (gokvm.Regs, error) { return get[gokvm.Regs](v, "KVM_GET_REGS", nrGetRegs) }

// SetRegs writes the general registers.
func (v *VCPU) SetRegs(r gokvm.Regs) error { return set(v, "KVM_SET_REGS", nrSetRegs, &r) }

// Sregs reads the segment and control registers.
func (v *VCPU) Sregs() (gokvm.Sregs, error) { return get[gokvm.Sregs](v, "KVM_GET_SREGS", nrGetSregs) }

// SetSregs writes the segment and control registers.
func (v *VCPU) SetSregs(s gokvm.Sregs) error { return set(v, "KVM_SET_SREGS", nrSetSregs, &s) }

// Events reads pending exceptions, interrupts and NMIs.
func (v *VCPU) Events() (gokvm.VCPUEvents, error) {
	return get[gokvm.VCPUEvents](v, "KVM_GET_VCPU_EVENTS", nrGetVCPUEvents)
}

// SetEvents writes what Events read.
func (v *VCPU) SetEvents(e gokvm.VCPUEvents) error {
	return set(v, "KVM_SET_VCPU_EVENTS", nrSetVCPUEvents, &e)
}

// MPState reads whether the vCPU runs, waits for SIPI, halts (gokvm.MPState*).
func (v *VCPU) MPState() (uint32, error) {
	s, err := get[gokvm.MPState](v, "KVM_GET_MP_STATE", nrGetMPState)
	return s.State, err
}

// SetMPState writes that.
func (v *VCPU) SetMPState(s uint32) error {
	return set(v, "KVM_SET_MP_STATE", nrSetMPState, &gokvm.MPState{State: s})
}

// DebugRegs reads DR0 to DR7.
func (v *VCPU) DebugRegs() (gokvm.DebugRegs, error) {
	return get[gokvm.DebugRegs](v, "KVM_GET_DEBUGREGS", nrGetDebugRegs)
}

// SetDebugRegs writes them.
func (v *VCPU) SetDebugRegs(d gokvm.DebugRegs) error {
	return set(v, "KVM_SET_DEBUGREGS", nrSetDebugRegs, &d)
}

// LAPIC reads the local APIC's registers.
func (v *VCPU) LAPIC() (gokvm.LAPICState, error) {
	return get[gokvm.LAPICState](v, "KVM_GET_LAPIC", nrGetLAPIC)
}

// SetLAPIC writes them.
func (v *VCPU) SetLAPIC(l gokvm.LAPICState) error { return set(v, "KVM_SET_LAPIC", nrSetLAPIC, &l) }

// FPU is struct kvm_fpu.
type FPU struct {
	FPR        [8][16]byte
	FCW, FSW   uint16
	FTWX, _    uint8
	LastOpcode uint16
	LastIP     uint64
	LastDP     uint64
	XMM        [16][16]byte
	MXCSR, _   uint32
}

// SetFPU writes the x87 and SSE state.
func (v *VCPU) SetFPU(f FPU) error { return set(v, "KVM_SET_FPU", nrSetFPU, &f) }

// FPU reads the x87 and SSE state.
func (v *VCPU) FPU() (FPU, error) { return get[FPU](v, "KVM_GET_FPU", nrGetFPU) }

// legacyXSave is the size of struct kvm_xsave before its extra area.
const legacyXSave = 4096

// XSave reads the extended state: size bytes, as gokvm.CapXSave2 of the VM
// tells (0 there means 4096).
func (v *VCPU) XSave(size int) ([]byte, error) {
	buf := make([]byte, max(size, legacyXSave))
	nr, call := uintptr(nrGetXSave), "KVM_GET_XSAVE"
	if size > legacyXSave {
		nr, call = nrGetXSave2, "KVM_GET_XSAVE2"
	}
	_, err := ioctlBytes(v.fd, gokvm.IIOR(nr, legacyXSave), buf)
	return buf, wrap(call, err)
}

// SetXSave writes what XSave read.
func (v *VCPU) SetXSave(state []byte) error {
	if len(state) < legacyXSave {
		return fmt.Errorf("KVM_SET_XSAVE: %d bytes of state, want at least %d", len(state), legacyXSave)
	}
	_, err := ioctlBytes(v.fd, gokvm.IIOW(nrSetXSave, legacyXSave), state)
	return wrap("KVM_SET_XSAVE", err)
}

// XCRs is struct kvm_xcrs.
type XCRs struct {
	Count, Flags uint32
	Regs         [16]struct {
		XCR, _ uint32
		Value  uint64
	}
	_ [16]uint64
}

// XCRs reads the extended control registers.
func (v *VCPU) XCRs() (XCRs, error) { return get[XCRs](v, "KVM_GET_XCRS", nrGetXCRS) }

// SetXCRs writes them.
func (v *VCPU) SetXCRs(x XCRs) error { return set(v, "KVM_SET_XCRS", nrSetXCRS, &x) }

// MSR is one model-specific register.
type MSR struct {
	Index uint32
	_     uint32
	Value uint64
}

const msrSize = 16

// SetMSRs writes the registers; an error names the first that KVM refused.
func (v *VCPU) SetMSRs(msrs ...MSR) error {
	n, err := ioctlBytes(v.fd, gokvm.IIOW(nrSetMSRs, 8), msrBuffer(msrs))
	if err == nil && n < len(msrs) {
		err = fmt.Errorf("MSR %#x refused", msrs[n].Index)
	}
	return wrap("KVM_SET_MSRS", err)
}

// MSRs reads the registers into their Value, up to the first that KVM
// refuses, and returns how many that were.
func (v *VCPU) MSRs(msrs []MSR) (int, error) {
	buf := msrBuffer(msrs)
	n, err := ioctlBytes(v.fd, gokvm.IIOWR(nrGetMSRs, 8), buf)
	for i := range n {
		msrs[i] = *view[MSR](buf, 8+msrSize*i)
	}
	return n, wrap("KVM_GET_MSRS", err)
}

func msrBuffer(msrs []MSR) []byte {
	buf := make([]byte, 8, 8+msrSize*len(msrs))
	*view[uint32](buf, 0) = uint32(len(msrs))
	for i := range msrs {
		buf = append(buf, bytesOf(&msrs[i])...)
	}
	return buf
}

// TSCKHz is the guest's TSC frequency in kHz.
func (v *VCPU) TSCKHz() (int, error) {
	n, err := ioctl(v.fd, gokvm.IIO(nrGetTSCKHz), 0)
	return n, wrap("KVM_GET_TSC_KHZ", err)
}

// SetTSCKHz sets it; ENOTSUP where the host can't scale.
func (v *VCPU) SetTSCKHz(khz int) error {
	_, err := ioctl(v.fd, gokvm.IIO(nrSetTSCKHz), uintptr(khz))
	return wrap("KVM_SET_TSC_KHZ", err)
}

// PauseClock tells the guest that it was stopped, so that its watchdogs do
// not bark (KVM_KVMCLOCK_CTRL). EINVAL where the guest has no kvmclock.
func (v *VCPU) PauseClock() error {
	_, err := ioctl(v.fd, gokvm.IIO(nrKVMClockCtrl), 0)
	return wrap("KVM_KVMCLOCK_CTRL", err)
}
