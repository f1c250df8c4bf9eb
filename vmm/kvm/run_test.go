package kvm_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/bare"
	"splitvm/guest/boot"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

const ramSize = 4 << 20

// exits is a guest's owner, for one exit.
type exits func(vm *vmm.VM, v *kvm.VCPU)

func (f exits) HandleExit(vm *vmm.VM, _ int, v *kvm.VCPU, r kvm.Reason) (bool, error) {
	if r != kvm.ExitIO || v.IO().Port != bare.PortExit {
		return false, nil
	}
	f(vm, v)
	return true, nil
}

// runOps runs a bare guest that does ops; prepare and atExit may be nil.
func runOps(t *testing.T, ops []bare.Op, prepare func(*vmm.VM, *memory.Memory), start func(*kvm.VCPU) error, atExit exits) {
	t.Helper()
	sys := require.System(t)
	ram, err := layout.New(ramSize)
	must(t, err)
	m, err := memory.NewLocal(ram.RAM())
	must(t, err)
	defer m.Close()
	image := bare.ELF(bare.Rubbish)
	plan, err := boot.LoadBare(bytes.NewReader(image), int64(len(image)), boot.BareParams{Memory: ram, VCPUs: []boot.BareArgs{{RDI: bare.BlockAt(0)}}})
	must(t, err)
	must(t, plan.Place(m))
	block := bare.Block{Params: bare.Params{Seed: 1, Table: bare.TablesAt, TableCount: uint64(len(ops))}}
	must(t, m.WriteAt(block.Bytes(), layout.GPA(bare.BlockAt(0))))
	must(t, m.WriteAt(bare.TableBytes(ops), bare.TablesAt))
	vm, err := vmm.New(vmm.Config{System: sys, Memory: m, VCPUs: 1, Exits: atExit, Start: func(_ int, v *kvm.VCPU) error {
		if err := start(v); err != nil {
			return err
		}
		return vmm.Enter(v, plan.Entries[0])
	}})
	must(t, err)
	defer vm.Close()
	if prepare != nil {
		prepare(vm, m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if o := vm.Run(ctx); o.End != vmm.Exited {
		t.Fatal(o)
	}
}

func noStart(*kvm.VCPU) error { return nil }

func end(vm *vmm.VM) { vm.End(vmm.Outcome{End: vmm.Exited}) }

// The dirty log has the pages that the guest wrote since it was last read. (KVM
// may log one that was only read.)
func TestDirtyLog(t *testing.T) {
	pages := []uint64{0x201, 0x23f, 0x240, 0x3ff}
	var ops []bare.Op
	for _, p := range pages {
		ops = append(ops, bare.Op{Kind: bare.OpStore, Width: 8, Count: 1, Address: p << 12, Value: 1})
	}
	prepare := func(vm *vmm.VM, m *memory.Memory) {
		r := m.Regions()[0]
		must(t, vm.KVM().SetSlot(0, kvm.LogDirtyPages, r.GPA, r.Size, r.HostAddr()))
	}
	runOps(t, ops, prepare, noStart, func(vm *vmm.VM, _ *kvm.VCPU) {
		first, err := vm.KVM().DirtyLog(0, ramSize/4096)
		must(t, err)
		var got []uint64
		for p := uint64(bare.Memory >> 12); p < ramSize/4096; p++ {
			if first[p/64]>>(p%64)&1 == 1 {
				got = append(got, p)
			}
		}
		if !slices.Equal(got, pages) {
			t.Errorf("dirty pages %#x, want %#x", got, pages)
		}
		again, err := vm.KVM().DirtyLog(0, ramSize/4096)
		must(t, err)
		if slices.ContainsFunc(again, func(w uint64) bool { return w != 0 }) {
			t.Error("the log is not empty after it was read")
		}
		end(vm)
	})
}

// Registers that travel in the run area are those that the calls read, and what
// is changed there counts.
func TestSyncedRegisters(t *testing.T) {
	if require.System(t).Extension(gokvm.CapSyncRegs) == 0 {
		t.Skip("this KVM has no synchronized registers; Linux 4.17 and later do")
	}
	first := true
	runOps(t, nil, nil, func(v *kvm.VCPU) error {
		v.SetSyncRegs(kvm.SyncRegs | kvm.SyncSregs)
		return nil
	}, func(vm *vmm.VM, v *kvm.VCPU) {
		want, err := v.Regs()
		must(t, err)
		s := v.Synced()
		if s.Regs != want || s.Regs.RDI != bare.BlockAt(0) || s.Sregs.CS.Selector != 0x33 {
			t.Errorf("the run area has %+v, the vCPU %+v", s.Regs, want)
		}
		if !first {
			if want.R14 != 0x1234 { // rubbish does not use it
				t.Errorf("R14 is %#x", want.R14)
			}
			end(vm)
			return
		}
		first = false
		s.Regs.RIP, s.Regs.R14 = bare.CodeAt, 0x1234 // once more, up to its first exit
		v.MarkDirty(kvm.SyncRegs)
	})
}
