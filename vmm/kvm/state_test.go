package kvm_test

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"testing"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"splitvm/integration/require"
	"splitvm/vmm/kvm"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newVCPU is one of a VM with interrupt controllers and no memory, on the
// calling thread.
func newVCPU(t testing.TB) (*kvm.VM, *kvm.VCPU) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	sys := require.System(t)
	vm, err := sys.CreateVM()
	must(t, err)
	t.Cleanup(func() { vm.Close() })
	must(t, vm.CreateIRQChip())
	must(t, vm.CreatePIT())
	v, err := vm.CreateVCPU(0)
	must(t, err)
	t.Cleanup(func() { v.Close() })
	leaves, err := sys.SupportedCPUID()
	must(t, err)
	must(t, v.SetCPUID(leaves))
	return vm, v
}

// roundTrip changes a piece of state and reads it back.
func roundTrip[T any](t *testing.T, what string, get func() (T, error), set func(T) error, change func(*T)) {
	t.Helper()
	was, err := get()
	must(t, err)
	want := was
	change(&want)
	must(t, set(want))
	got, err := get()
	must(t, err)
	if d := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
		t.Errorf("%s: %s", what, d)
	}
	must(t, set(was))
}

// Every piece of a vCPU's state is read as it was written.
func TestStateIsKept(t *testing.T) {
	_, v := newVCPU(t)
	roundTrip(t, "registers", v.Regs, v.SetRegs, func(r *gokvm.Regs) { r.RAX, r.R15, r.RIP = 1<<63|5, 7, 0x1234 })
	roundTrip(t, "special registers", v.Sregs, v.SetSregs, func(s *gokvm.Sregs) { s.CR2, s.GDT.Base, s.FS.Base = 0x1000, 0x5000, 0x77000 })
	roundTrip(t, "debug registers", v.DebugRegs, v.SetDebugRegs, func(d *gokvm.DebugRegs) { d.DB[1] = 0x4000 })
	roundTrip(t, "local APIC", v.LAPIC, v.SetLAPIC, func(l *gokvm.LAPICState) { l.Regs[0xd3] = 2 }) // logical destination
	roundTrip(t, "run state", v.MPState, v.SetMPState, func(s *uint32) { *s = gokvm.MPStateHalted })
	roundTrip(t, "floating point", v.FPU, v.SetFPU, func(f *kvm.FPU) { f.XMM[3][5], f.FCW = 0xab, 0x37f })
	roundTrip(t, "extended control registers", v.XCRs, v.SetXCRs, func(x *kvm.XCRs) { x.Regs[0].Value = 3 })
	roundTrip(t, "events", v.Events, v.SetEvents, func(e *gokvm.VCPUEvents) { e.N.Masked = 1 })
	roundTrip(t, "TSC rate", v.TSCKHz, v.SetTSCKHz, func(*int) {}) // a host may be unable to change it
}

// The extended state is all that a processor has, and is taken back.
func TestXSave(t *testing.T) {
	vm, v := newVCPU(t)
	size := vm.Extension(gokvm.CapXSave2)
	state, err := v.XSave(size)
	must(t, err)
	if len(state) != max(size, 4096) {
		t.Fatalf("%d bytes of state, want %d", len(state), size)
	}
	const xmm0, header = 160, 512 // Intel SDM vol. 1, 13.4
	changed := slices.Clone(state)
	changed[xmm0], changed[header] = 0x5a, changed[header]|2
	must(t, v.SetXSave(changed))
	got, err := v.XSave(size)
	must(t, err)
	if got[xmm0] != 0x5a || bytes.Equal(got, state) {
		t.Errorf("XMM0 is %#x", got[xmm0])
	}
	if err := v.SetXSave(changed[:100]); err == nil {
		t.Error("a hundred bytes were taken")
	}
}

func TestMSRs(t *testing.T) {
	_, v := newVCPU(t)
	const lstar, star = 0xc0000082, 0xc0000081
	must(t, v.SetMSRs(kvm.MSR{Index: lstar, Value: 0xffff800000001000}, kvm.MSR{Index: star, Value: 1 << 40}))
	got := []kvm.MSR{{Index: star}, {Index: lstar}}
	if n, err := v.MSRs(got); n != 2 || err != nil || got[0].Value != 1<<40 || got[1].Value != 0xffff800000001000 {
		t.Errorf("%d registers, %+v, %v", n, got, err)
	}
	list, err := require.System(t).MSRIndices()
	must(t, err)
	if !slices.Contains(list, lstar) {
		t.Errorf("LSTAR is not among %d registers of the state", len(list))
	}
}

// A VM's clock goes on from what it is set to.
func TestClock(t *testing.T) {
	vm, v := newVCPU(t)
	const at = 1e15
	must(t, vm.SetClock(gokvm.ClockData{Clock: at}))
	c, err := vm.Clock()
	must(t, err)
	if c.Clock < at || c.Clock > at+60e9 {
		t.Errorf("the clock is at %d", c.Clock)
	}
	if err := v.PauseClock(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("pause the clock of a guest that has none: %v", err)
	}
}

// What is not there is an error with the call's name, not a crash.
func TestErrorsSayWhat(t *testing.T) {
	if _, err := kvm.Open("/dev/null"); err == nil {
		t.Error("/dev/null is a KVM")
	}
	if _, err := kvm.Open("/nonexistent"); err == nil || !bytes.Contains([]byte(err.Error()), []byte("kvm_intel or kvm_amd")) {
		t.Errorf("no remedy: %v", err)
	}
	vm, v := newVCPU(t)
	if err := v.SetMSRs(kvm.MSR{Index: 0x12345678}); err == nil {
		t.Error("an MSR that is none was set")
	}
	if _, err := vm.DirtyLog(0, 0); err == nil {
		t.Error("the log of no page")
	}
	if err := vm.SetSlot(0, 0, 1, 4096, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a slot at an odd address: %v", err)
	}
}
