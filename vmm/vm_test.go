package vmm

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

const (
	codeAt  = 0x10_0000
	tableAt = 0x1000
)

// ring3 starts v at codeAt in ring 3 of long mode, with 4 MiB identity-mapped.
func ring3(m *memory.Memory, index int, v *kvm.VCPU) error {
	s, err := v.Sregs()
	if err != nil {
		return err
	}
	code := gokvm.Segment{Limit: 0xffffffff, Selector: 0x33, Typ: 11, Present: 1, DPL: 3, S: 1, L: 1, G: 1}
	data := gokvm.Segment{Limit: 0xffffffff, Selector: 0x2b, Typ: 3, Present: 1, DPL: 3, S: 1, DB: 1, G: 1}
	s.CR3, s.CR4, s.CR0, s.EFER = tableAt, 0x620, 0x80010033, 0x501
	s.CS, s.DS, s.ES, s.FS, s.GS, s.SS = code, data, data, data, data, data
	if err := v.SetSregs(s); err != nil {
		return err
	}
	return v.SetRegs(gokvm.Regs{RIP: codeAt, RFLAGS: 0x3002, RSP: 0x20_0000, RBX: uint64(index)})
}

func newGuest(t *testing.T, vcpus int, code ...byte) *VM {
	t.Helper()
	sys := require.System(t)
	m, err := memory.NewLocal([]layout.Range{{Start: 0, Size: 4 << 20}})
	must(t, err)
	t.Cleanup(func() { m.Close() })
	must(t, m.Store64(tableAt, 0x2067))
	must(t, m.Store64(0x2000, 0x3067))
	must(t, m.Store64(0x3000, 0xe7)) // 2 MiB pages
	must(t, m.Store64(0x3008, 0x2000e7))
	must(t, m.Store64(0x3018, 0x6000e7)) // no RAM behind it
	must(t, m.WriteAt(code, codeAt))
	vm, err := New(Config{System: sys, Memory: m, VCPUs: vcpus,
		Start: func(i int, v *kvm.VCPU) error { return ring3(m, i, v) }})
	must(t, err)
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
	})
	return vm
}

// port is a device that hands each written value to a function.
type port func(v uint32)

func (port) Read(_ uint64, p []byte) { p[0] = 0x5a }
func (f port) Write(_ uint64, p []byte) {
	var b [4]byte
	copy(b[:], p)
	f(binary.LittleEndian.Uint32(b[:]))
}

func run(t *testing.T, vm *VM) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // far more than it takes 64 vCPUs
	defer cancel()
	return vm.Run(ctx)
}

var exit = []byte{0xe7, 0xf4} // out 0xf4, eax

func TestPortsInBothDirections(t *testing.T) {
	code := append([]byte{0xe4, 0x10, 0x0f, 0xb6, 0xc0}, exit...) // in al, 0x10; movzx eax, al
	vm := newGuest(t, 1, code...)
	must(t, vm.Ports.Add(0x10, 1, port(nil)))
	must(t, vm.Ports.Add(0xf4, 4, port(func(v uint32) { vm.End(Outcome{End: Exited, Status: int(v)}) })))
	if o := run(t, vm); o.End != Exited || o.Status != 0x5a {
		t.Fatalf("guest %v, want status 0x5a", o)
	}
}

func TestMMIO(t *testing.T) {
	// mov eax, [0x600000]; out 0xf4, eax
	vm := newGuest(t, 1, append([]byte{0x8b, 0x04, 0x25, 0, 0, 0x60, 0}, exit...)...)
	must(t, vm.MMIO.Add(0x60_0000, 4, port(nil)))
	must(t, vm.Ports.Add(0xf4, 4, port(func(v uint32) { vm.End(Outcome{End: Exited, Status: int(v)}) })))
	if o := run(t, vm); o.Status != 0x5a {
		t.Fatalf("guest %v, want status 0x5a", o)
	}
}

func TestEveryVCPURuns(t *testing.T) {
	const n = MaxVCPUs
	vm := newGuest(t, n, 0x89, 0xd8, 0xe7, 0xf4, 0xeb, 0xfe) // mov eax, ebx; out 0xf4, eax; jmp .
	var seen atomic.Uint64
	must(t, vm.Ports.Add(0xf4, 4, port(func(v uint32) {
		if seen.Or(1<<v)|1<<v == ^uint64(0) {
			vm.End(Outcome{End: Exited})
		}
	})))
	if o := run(t, vm); o.End != Exited {
		t.Fatalf("guest %v; vCPUs seen %#x", o, seen.Load())
	}
}

func TestExceptionWithoutHandlers(t *testing.T) {
	vm := newGuest(t, 1, 0x0f, 0x0b) // ud2
	if o := run(t, vm); o.End != TripleFault {
		t.Fatalf("guest %v, want a triple fault", o)
	}
}

// A loop without exits is ended by its context and by End, at any moment of its start.
func TestStopBusyGuest(t *testing.T) {
	busy := []byte{0xeb, 0xfe}
	cause := errors.New("enough")
	for name, stop := range map[string]func(vm *VM, cancel context.CancelCauseFunc){
		"context": func(_ *VM, cancel context.CancelCauseFunc) { cancel(cause) },
		"End":     func(vm *VM, _ context.CancelCauseFunc) { vm.End(Outcome{End: Stopped, Err: cause}) },
	} {
		t.Run(name, func(t *testing.T) {
			for delay := range 20 {
				vm := newGuest(t, 4, busy...)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Duration(delay)*200*time.Microsecond, func() { stop(vm, cancel) })
				if o := vm.Run(ctx); o.End != Stopped || !errors.Is(o.Err, cause) {
					t.Fatalf("guest %v", o)
				}
				cancel(nil)
			}
		})
	}
}

func TestConfigRefused(t *testing.T) {
	for _, n := range []int{-1, 0, MaxVCPUs + 1} {
		if _, err := New(Config{VCPUs: n}); err == nil {
			t.Errorf("New took %d vCPUs", n)
		}
	}
}

// Nothing is left of a hundred VMs: no thread, no descriptor.
func TestNothingLeftBehind(t *testing.T) {
	sys := require.System(t)
	before := runtime.NumGoroutine()
	fds := openFiles(t)
	for range 100 {
		m, err := memory.NewLocal([]layout.Range{{Start: 0, Size: 4 << 20}})
		must(t, err)
		vm, err := New(Config{System: sys, Memory: m, VCPUs: 2, IRQChip: true})
		must(t, err)
		line, err := vm.NewMSI()
		must(t, err)
		must(t, line.Route(0xfee00000, 0x30))
		must(t, vm.Close())
		must(t, m.Close())
	}
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) { // the last have ended, and go
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	if n := openFiles(t); n > fds {
		t.Errorf("%d open files, %d before", n, fds)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
