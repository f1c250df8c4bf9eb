package kvm

import (
	"fmt"
	"sync/atomic"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// VCPU is one virtual CPU. All methods but Kick belong to the thread that
// runs it, which must be locked to its goroutine (runtime.LockOSThread): KVM
// ties a vCPU to a thread's address space and makes a change of thread dear.
type VCPU struct {
	ID   int
	fd   int
	page []byte // struct kvm_run and what follows it
	tid  atomic.Int32
}

// CreateVCPU makes vCPU number id, which is also its local APIC's id.
func (vm *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := ioctl(vm.fd, gokvm.IIO(nrCreateVCPU), uintptr(id))
	if err != nil {
		return nil, fmt.Errorf("vCPU %d: %w", id, wrap("KVM_CREATE_VCPU", err))
	}
	unix.CloseOnExec(fd)
	page, err := unix.Mmap(fd, 0, vm.runLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("vCPU %d: map run area: %w", id, err)
	}
	return &VCPU{ID: id, fd: fd, page: page}, nil
}

// Close unmaps and closes; the vCPU must not be running.
func (v *VCPU) Close() error {
	err := unix.Munmap(v.page)
	if cerr := unix.Close(v.fd); err == nil {
		err = cerr
	}
	v.page = nil
	return err
}

// SetCPUID gives the vCPU its CPUID leaves (KVM_SET_CPUID2), before its first
// Run.
func (v *VCPU) SetCPUID(entries []gokvm.CPUIDEntry2) error {
	buf := make([]byte, 8, 8+cpuidEntrySize*len(entries))
	*view[uint32](buf, 0) = uint32(len(entries))
	for i := range entries {
		buf = append(buf, bytesOf(&entries[i])...)
	}
	_, err := ioctlBytes(v.fd, gokvm.IIOW(nrSetCPUID2, 8), buf)
	return wrap("KVM_SET_CPUID2", err)
}

// EnableCap turns on a capability of the vCPU.
func (v *VCPU) EnableCap(c gokvm.Capability, args ...uint64) error {
	e := enableCap{cap: uint32(c)}
	copy(e.args[:], args)
	_, err := ioctlPtr(v.fd, gokvm.IIOW(nrEnableCap, sizeof[enableCap]()), &e)
	return wrap(fmt.Sprintf("KVM_ENABLE_CAP %v", c), err)
}

// Attach notes the calling thread as the vCPU's, so that Kick finds it.
func (v *VCPU) Attach() { v.tid.Store(int32(unix.Gettid())) }

// Kick makes a Run that is under way, or the next one, return
// ErrInterrupted. Any goroutine may call it, until Close.
func (v *VCPU) Kick() {
	atomic.StoreUint32(view[uint32](v.page, offImmediateExit), 1<<immediateExitShift)
	if tid := v.tid.Load(); tid != 0 {
		// SIGURG: the Go runtime ignores those it did not send itself.
		unix.Tgkill(unix.Getpid(), int(tid), unix.SIGURG)
	}
}

// ClearKick ends the effect of Kick.
func (v *VCPU) ClearKick() { atomic.StoreUint32(view[uint32](v.page, offImmediateExit), 0) }

// Detach forgets the thread, before it ends: its id may be used again.
func (v *VCPU) Detach() { v.tid.Store(0) }
