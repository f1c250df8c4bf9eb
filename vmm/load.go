package vmm

import (
	"fmt"
	"io"
	"os"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/boot"
	"splitvm/guest/layout"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

// loadChunk is how much of a decompressed image is held at a time.
const loadChunk = 4 << 20

// Load puts a boot plan's segments into RAM, which must be all zero: what a
// plan calls zero-fill is not written, so it stays unallocated, or p-local.
func Load(m *memory.Memory, p *boot.Plan) error {
	for i := range p.Segments {
		s := &p.Segments[i]
		if err := loadSegment(m, s); err != nil {
			return fmt.Errorf("load %s at %v: %w", s.Name, s.GPA, err)
		}
	}
	return nil
}

func loadSegment(m *memory.Memory, s *boot.Segment) error {
	if s.Source == nil {
		return m.WriteAt(s.Data, s.GPA)
	}
	if f, ok := s.Source.(*os.File); ok {
		return m.Fill(s.GPA, f, s.Offset, s.Length)
	}
	buf := make([]byte, min(loadChunk, s.Length))
	for done := uint64(0); done < s.Length; {
		p := buf[:min(uint64(len(buf)), s.Length-done)]
		if n, err := s.Source.ReadAt(p, s.Offset+int64(done)); n < len(p) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := m.WriteAt(p, s.GPA+layout.GPA(done)); err != nil {
			return err
		}
		done += uint64(len(p))
	}
	return nil
}

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
