// Package probe measures what a KVM is good for before a guest depends on it.
//
// Some KVMs emulate a guest's ring 0 instruction by instruction (software
// shadow-paging ones without hardware virtualization): ring-3 code runs
// natively there and a kernel at about 1.5 million instructions a second, so
// that Linux takes many minutes to boot. Ring0 finds that out in
// milliseconds.
package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/layout"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

// EmulatedBelow is the rate, in millions of instructions a second, below which
// ring 0 must be emulated. The slowest hardware-like rig known (nested SVM in
// a software-emulated host) does 600, the emulating KVM 1.5.
const EmulatedBelow = 8

// Emulator names the KVM module of this host if it is one that is known to
// emulate ring 0; empty if Ring0 has to find out. It costs no time.
func Emulator() string {
	const pvm = "kvm_pvm"
	if _, err := os.Stat("/sys/module/" + pvm); err != nil {
		return ""
	}
	return pvm
}

// Speed is ring 0's measured rate.
type Speed struct {
	MIPS float64
}

// Emulated tells whether KVM emulates ring 0.
func (s Speed) Emulated() bool { return s.MIPS < EmulatedBelow }

const (
	ramSize   = 2 << 20
	tables    = 0x1000
	codeAt    = 0x4000
	donePort  = 0xf4
	loops     = 16384
	perLoop   = 2
	attempts  = 3
	timeLimit = 5 * time.Second
)

// program: mov al, 1; out 0xf4, al; mov ecx, loops; dec ecx; jnz -4; out 0xf4, al; hlt
func program() []byte {
	code := []byte{0xb0, 0x01, 0xe6, donePort, 0xb9, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xe6, donePort, 0xf4}
	binary.LittleEndian.PutUint32(code[5:], loops)
	return code
}

// Ring0 runs a short loop in ring 0 of a guest of its own and returns its
// best rate of a few attempts. It takes about 80 ms where ring 0 is emulated
// and under 3 ms where it is not. A host so busy that it slows a native ring 0
// down a hundredfold in each attempt is mistaken for an emulating one.
func Ring0(ctx context.Context, sys *kvm.System) (Speed, error) {
	var best Speed
	for range attempts {
		took, err := loop(ctx, sys)
		if err != nil {
			return Speed{}, fmt.Errorf("probe ring 0: %w", err)
		}
		best.MIPS = max(best.MIPS, loops*perLoop/max(took.Seconds(), 1e-9)/1e6)
		if !best.Emulated() {
			break
		}
	}
	return best, nil
}

// stopwatch is the port that the program writes before and after its loop.
type stopwatch struct {
	end   func(vmm.Outcome)
	start time.Time
	took  time.Duration
}

func (*stopwatch) Read(uint64, []byte) {}
func (s *stopwatch) Write(uint64, []byte) {
	if s.start.IsZero() {
		s.start = time.Now()
		return
	}
	s.took = time.Since(s.start)
	s.end(vmm.Outcome{End: vmm.Exited})
}

func loop(ctx context.Context, sys *kvm.System) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, errors.New("guest did not finish in time"))
	defer cancel()
	m, err := memory.NewLocal([]layout.Range{{Start: 0, Size: ramSize}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := fill(m); err != nil {
		return 0, err
	}
	vm, err := vmm.New(vmm.Config{System: sys, Memory: m, VCPUs: 1, Start: func(_ int, v *kvm.VCPU) error { return enterRing0(v) }})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	watch := &stopwatch{end: vm.End}
	if err := vm.Ports.Add(donePort, 1, watch); err != nil {
		return 0, err
	}
	if o := vm.Run(ctx); o.End != vmm.Exited {
		return 0, fmt.Errorf("guest %v (%w)", o, context.Cause(ctx))
	}
	return watch.took, nil
}

// fill writes a page table that maps the first 2 MiB to themselves, and the
// program.
func fill(m *memory.Memory) error {
	return errors.Join(
		m.Store64(tables, tables+0x1000|0x63),
		m.Store64(tables+0x1000, tables+0x2000|0x63),
		m.Store64(tables+0x2000, 0xe3),
		m.WriteAt(program(), codeAt))
}

func enterRing0(v *kvm.VCPU) error {
	s, err := v.Sregs()
	if err != nil {
		return err
	}
	code := gokvm.Segment{Limit: 0xffffffff, Selector: 0x10, Typ: 11, Present: 1, S: 1, L: 1, G: 1}
	data := gokvm.Segment{Limit: 0xffffffff, Selector: 0x18, Typ: 3, Present: 1, S: 1, DB: 1, G: 1}
	s.CR3, s.CR4, s.CR0, s.EFER = tables, 0x20, 0x80010033, 0x500
	s.CS, s.DS, s.ES, s.FS, s.GS, s.SS = code, data, data, data, data, data
	if err := v.SetSregs(s); err != nil {
		return err
	}
	return v.SetRegs(gokvm.Regs{RIP: codeAt, RFLAGS: 2, RSP: 0x10_0000})
}
