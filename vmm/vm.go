package vmm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/layout"
	"splitvm/vmm/bus"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

// MaxVCPUs is the most vCPUs of one VM.
const MaxVCPUs = 64

// Config says what a VM is made of.
type Config struct {
	System *kvm.System
	Memory *memory.Memory // stays the caller's; outlives the VM
	VCPUs  int            // 1 to MaxVCPUs

	// CPUID gives each vCPU its leaves; nil: all that KVM supports.
	CPUID func(index int) []gokvm.CPUIDEntry2
	// IRQChip makes the in-kernel PIC, IOAPIC, local APICs and PIT. Without
	// it a HLT ends the guest.
	IRQChip bool
	// Start sets a vCPU's registers, on its own thread, before it first runs.
	// Nil leaves it as after reset (with IRQChip, all but vCPU 0 wait for a
	// start-up IPI).
	Start func(index int, v *kvm.VCPU) error
	// Exits, if set, sees every exit first.
	Exits ExitHandler

	Log *slog.Logger // nil: slog.Default()
}

// ExitHandler owns a guest's exits. HandleExit runs on the vCPU's thread and
// returns true when it has dealt with the exit, false to leave it to the
// buses; an error ends the guest as Failed.
type ExitHandler interface {
	HandleExit(vm *VM, index int, v *kvm.VCPU, r kvm.Reason) (handled bool, err error)
}

// VM is a virtual machine. Its buses may be filled at any time.
type VM struct {
	Ports bus.Bus
	MMIO  bus.Bus

	cfg   Config
	log   *slog.Logger
	kvm   *kvm.VM
	irqs  *interrupts // nil without IRQChip
	vcpus []*vcpu

	mu      sync.Mutex
	started bool          // guarded by mu
	ended   chan struct{} // closed when outcome is set
	outcome Outcome       // guarded by mu, immutable after ended
	done    sync.WaitGroup
}

// New makes the VM, its memory slots and its vCPUs; nothing runs yet.
func New(cfg Config) (*VM, error) {
	if cfg.VCPUs < 1 || cfg.VCPUs > MaxVCPUs {
		return nil, fmt.Errorf("make VM: %d vCPUs, want 1 to %d", cfg.VCPUs, MaxVCPUs)
	}
	k, err := cfg.System.CreateVM()
	if err != nil {
		return nil, fmt.Errorf("make VM: %w", err)
	}
	vm := &VM{cfg: cfg, log: cfg.Log, kvm: k, ended: make(chan struct{})}
	if vm.log == nil {
		vm.log = slog.Default()
	}
	if err := vm.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("make VM: %w", err), vm.Close())
	}
	return vm, nil
}

func (vm *VM) build() error {
	if err := vm.platform(); err != nil {
		return err
	}
	for i, r := range vm.cfg.Memory.Regions() {
		if err := vm.kvm.SetSlot(uint32(i), 0, r.GPA, r.Size, r.HostAddr()); err != nil {
			return err
		}
	}
	for i := range vm.cfg.VCPUs {
		v, err := vm.newVCPU(i)
		if err != nil {
			return err
		}
		vm.vcpus = append(vm.vcpus, v)
	}
	return nil
}

// platform makes what must be there before the first vCPU.
func (vm *VM) platform() error {
	if err := vm.kvm.SetTSSAddr(layout.KVMTSS); err != nil {
		return err
	}
	if err := vm.kvm.SetIdentityMapAddr(layout.KVMIdentityMap); err != nil {
		return err
	}
	if vm.kvm.Extension(gokvm.CapExitOnEmulationFailure) != 0 {
		if err := vm.kvm.EnableCap(gokvm.CapExitOnEmulationFailure, 1); err != nil {
			return err
		}
	}
	if !vm.cfg.IRQChip {
		return nil
	}
	if err := vm.kvm.CreateIRQChip(); err != nil {
		return err
	}
	irqs, err := newInterrupts(vm.kvm)
	if err != nil {
		return err
	}
	vm.irqs = irqs
	return vm.kvm.CreatePIT()
}

// KVM is the VM's handle, for whoever needs what this package does not wrap.
func (vm *VM) KVM() *kvm.VM { return vm.kvm }

// Memory is the guest's RAM.
func (vm *VM) Memory() *memory.Memory { return vm.cfg.Memory }

// End brings the guest to its end; the first call decides the outcome and the
// others do nothing. It does not wait: Run returns when all vCPUs are out of
// the guest. Any goroutine may call it, vCPU threads included.
func (vm *VM) End(o Outcome) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	select {
	case <-vm.ended:
		return
	default:
	}
	vm.outcome = o
	close(vm.ended)
	for _, v := range vm.vcpus {
		v.kick()
	}
}

// Ended is closed when the guest has come to its end.
func (vm *VM) Ended() <-chan struct{} { return vm.ended }

// Run starts the vCPUs and waits for the guest's end, or ends it as Stopped
// when ctx is done. No vCPU is in the guest when it returns. It runs once.
func (vm *VM) Run(ctx context.Context) Outcome {
	vm.mu.Lock()
	if vm.started {
		vm.mu.Unlock()
		panic("vmm: Run called twice")
	}
	vm.started = true
	vm.mu.Unlock()
	for _, v := range vm.vcpus {
		vm.done.Add(1)
		go func() {
			defer vm.done.Done()
			v.loop()
		}()
	}
	select {
	case <-ctx.Done():
		vm.End(Outcome{End: Stopped, Err: context.Cause(ctx)})
	case <-vm.ended:
	}
	vm.done.Wait()
	return vm.outcome
}

// Stop ends a guest that still runs and waits until no vCPU is in it: the buses
// are not called again.
func (vm *VM) Stop() {
	vm.End(Outcome{End: Stopped})
	vm.done.Wait()
}

// Close frees the VM, after Stop. Devices must have been closed by whoever
// made them.
func (vm *VM) Close() error {
	vm.Stop()
	var errs []error
	for _, v := range vm.vcpus {
		errs = append(errs, v.close())
	}
	if vm.irqs != nil {
		errs = append(errs, vm.irqs.close())
	}
	return errors.Join(append(errs, vm.kvm.Close())...)
}
