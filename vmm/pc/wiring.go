package pc

import (
	"splitvm/guest/layout"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
	"splitvm/vmm/pci"
)

// messages and doorbells give PCI what it needs of KVM.
type messages struct{ vm *vmm.VM }

var _ pci.Messages = messages{}

func (m messages) NewMessage() (pci.Message, error) {
	l, err := m.vm.NewMSI()
	if err != nil {
		return nil, err
	}
	return l, nil
}

type doorbells struct{ vm *kvm.VM }

var _ pci.Doorbells = doorbells{}

func (d doorbells) Attach(gpa layout.GPA, size, fd int) error {
	return d.vm.AddDoorbell(kvm.Doorbell{Addr: uint64(gpa), Size: uint32(size)}, fd)
}

func (d doorbells) Detach(gpa layout.GPA, size, fd int) error {
	return d.vm.RemoveDoorbell(kvm.Doorbell{Addr: uint64(gpa), Size: uint32(size)}, fd)
}
