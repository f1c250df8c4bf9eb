package vmm

import (
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/layout"
	"splitvm/vmm/kvm"
)

// Types of KVM_EXIT_SYSTEM_EVENT.
const (
	systemShutdown = 1
	systemReset    = 2
)

// exit deals with one exit; an error means that the guest can't go on.
func (c *vcpu) exit(r kvm.Reason) error {
	if h := c.vm.cfg.Exits; h != nil {
		if handled, err := h.HandleExit(c.vm, c.index, c.v, r); handled || err != nil {
			return err
		}
	}
	switch r {
	case kvm.ExitIO:
		c.port(c.v.IO())
	case kvm.ExitMMIO:
		return c.mmio(c.v.MMIO())
	case kvm.ExitHLT:
		c.vm.End(Outcome{End: Halted})
	case kvm.ExitShutdown:
		c.vm.End(Outcome{End: TripleFault})
	case kvm.ExitSystemEvent:
		c.systemEvent(c.v.SystemEvent())
	default:
		return c.v.Describe()
	}
	return nil
}

// port serves a port access; a string instruction brings several values.
func (c *vcpu) port(io kvm.IO) {
	for p := io.Data; len(p) >= io.Size && io.Size > 0; p = p[io.Size:] {
		if io.Out {
			c.vm.Ports.Write(uint64(io.Port), p[:io.Size])
		} else {
			c.vm.Ports.Read(uint64(io.Port), p[:io.Size])
		}
	}
}

// mmio serves an access to an address without RAM. KVM also reports so an
// instruction that it could not emulate on RAM; that is no device access.
func (c *vcpu) mmio(m kvm.MMIO) error {
	if c.vm.cfg.Memory.Contains(layout.GPA(m.Addr), 1) {
		return fmt.Errorf("KVM could not reach guest RAM at %#x", m.Addr)
	}
	if m.Write {
		c.vm.MMIO.Write(m.Addr, m.Data)
	} else {
		c.vm.MMIO.Read(m.Addr, m.Data)
	}
	return nil
}

func (c *vcpu) systemEvent(kind uint32) {
	switch kind {
	case systemShutdown:
		c.vm.End(Outcome{End: PowerOff})
	case systemReset:
		c.vm.End(Outcome{End: Reset})
	default:
		c.vm.End(Outcome{End: Failed, Err: fmt.Errorf("guest crashed, system event %d", kind)})
	}
}

func (vm *VM) leaves(index int) ([]gokvm.CPUIDEntry2, error) {
	if vm.cfg.CPUID != nil {
		return vm.cfg.CPUID(index), nil
	}
	return vm.cfg.System.SupportedCPUID()
}
