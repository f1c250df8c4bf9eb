//go:build amd64

package bare

import (
	"bytes"
	"fmt"

	"splitvm/guest/bare"
	"splitvm/guest/boot"
	"splitvm/guest/layout"
	"splitvm/vmm/memory"
)

// prepare puts the program and all that it reads into RAM.
func prepare(m *memory.Memory, s Spec) (*guest, error) {
	if n := len(s.Params); n < 1 || n > bare.MaxVCPUs {
		return nil, fmt.Errorf("parameters for %d vCPUs, want 1 to %d", n, bare.MaxVCPUs)
	}
	if len(s.Table) > bare.MaxTables {
		return nil, fmt.Errorf("table of %d bytes, at most %d fit", len(s.Table), bare.MaxTables)
	}
	g := &guest{atMark: s.AtMark, release: make(chan struct{}), status: make([]uint32, len(s.Params))}
	plan, err := load(m, s)
	if err != nil {
		return nil, err
	}
	g.entries = plan.Entries
	if err := m.WriteAt(s.Table, bare.TablesAt); err != nil {
		return nil, err
	}
	for i, p := range s.Params {
		if err := block(m, i, p); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// block writes a vCPU's parameters and clears what it reports into.
func block(m *memory.Memory, i int, p bare.Params) error {
	p.Index = uint64(i)
	if p.Sample != 0 {
		p.Histogram = bare.HistogramFor(i)
		if err := m.WriteAt(new(bare.Histogram).Bytes(), layout.GPA(p.Histogram)); err != nil {
			return err
		}
	}
	b := bare.Block{Params: p}
	return m.WriteAt(b.Bytes(), layout.GPA(bare.BlockAt(i)))
}

// load places program, page tables and descriptors. What an earlier run left
// there is overwritten: blocks and tables are not part of the plan, whose pages
// of zeroes are not written.
func load(m *memory.Memory, s Spec) (*boot.Plan, error) {
	ram, err := layout.New(m.Size())
	if err != nil {
		return nil, err
	}
	image := bare.ELF(s.Program)
	p := boot.BareParams{Memory: ram}
	for i := range s.Params {
		p.VCPUs = append(p.VCPUs, boot.BareArgs{RDI: bare.BlockAt(i)})
	}
	plan, err := boot.LoadBare(bytes.NewReader(image), int64(len(image)), p)
	if err != nil {
		return nil, err
	}
	return plan, plan.Place(m)
}
