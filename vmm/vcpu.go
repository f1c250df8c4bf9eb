package vmm

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"splitvm/vmm/kvm"
)

// vcpu is one vCPU and its thread.
type vcpu struct {
	vm    *VM
	index int

	mu     sync.Mutex // guards v against a kick after close
	v      *kvm.VCPU
	closed bool
}

func (vm *VM) newVCPU(index int) (*vcpu, error) {
	v, err := vm.kvm.CreateVCPU(index)
	if err != nil {
		return nil, err
	}
	c := &vcpu{vm: vm, index: index, v: v}
	leaves, err := vm.leaves(index)
	if err == nil {
		err = v.SetCPUID(leaves)
	}
	if err != nil {
		v.Close()
		return nil, fmt.Errorf("vCPU %d: %w", index, err)
	}
	return c, nil
}

func (c *vcpu) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.v.Close()
}

func (c *vcpu) kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.v.Kick()
	}
}

// loop runs the vCPU until the guest's end. The thread is not unlocked: it
// dies with the goroutine, so no other goroutine inherits it.
func (c *vcpu) loop() {
	runtime.LockOSThread()
	c.v.Attach()
	defer c.v.Detach()
	if c.vm.cfg.Start != nil {
		if err := c.vm.cfg.Start(c.index, c.v); err != nil {
			c.fail(fmt.Errorf("set registers: %w", err))
			return
		}
	}
	for !c.vm.hasEnded() {
		reason, err := c.v.Run()
		if errors.Is(err, kvm.ErrInterrupted) {
			continue
		}
		if err == nil {
			err = c.exit(reason)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// fail ends the guest with an error that says where the vCPU was.
func (c *vcpu) fail(err error) {
	where := ""
	if r, rerr := c.v.Regs(); rerr == nil {
		where = fmt.Sprintf(" at rip %#x", r.RIP)
	}
	c.vm.End(Outcome{End: Failed, Err: fmt.Errorf("vCPU %d%s: %w", c.index, where, err)})
}

func (vm *VM) hasEnded() bool {
	select {
	case <-vm.ended:
		return true
	default:
		return false
	}
}
