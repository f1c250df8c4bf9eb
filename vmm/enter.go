package vmm

import (
	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/boot"
	"splitvm/vmm/kvm"
)

// Enter puts a vCPU into the state in which a boot plan starts it.
func Enter(v *kvm.VCPU, e boot.Entry) error {
	s, err := v.Sregs()
	if err != nil {
		return err
	}
	s.CR0, s.CR3, s.CR4, s.EFER = e.CR0, e.CR3, e.CR4, e.EFER
	data := segment(e.Data)
	s.CS, s.DS, s.ES, s.FS, s.GS, s.SS = segment(e.CS), data, data, data, data, data
	s.TR, s.LDT = segment(e.TR), gokvm.Segment{Unusable: 1}
	s.GDT, s.IDT = table(e.GDT), table(e.IDT)
	if err := v.SetSregs(s); err != nil {
		return err
	}
	return v.SetRegs(gokvm.Regs{
		RIP: e.RIP, RSP: e.RSP, RFLAGS: e.RFLAGS,
		RAX: e.RAX, RBX: e.RBX, RCX: e.RCX, RDX: e.RDX, RSI: e.RSI, RDI: e.RDI,
	})
}

func segment(r boot.SegReg) gokvm.Segment {
	return gokvm.Segment{
		Selector: r.Selector, Base: r.Base, Limit: r.Limit, Typ: r.Type, DPL: r.DPL,
		S: bit(r.S), Present: bit(r.Present), L: bit(r.L), DB: bit(r.DB), G: bit(r.G), Unusable: bit(!r.Present),
	}
}

func table(t boot.Table) gokvm.Descriptor {
	return gokvm.Descriptor{Base: uint64(t.Base), Limit: t.Limit}
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
