//go:build amd64

package bare

import (
	"context"
	"fmt"
	"time"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

// Spec is what a bare guest runs.
type Spec struct {
	Program bare.Program
	Params  []bare.Params // one for each vCPU; Index is filled in, and Histogram where Sample is not 0
	Table   []byte        // placed at bare.TablesAt
	// AtMark, if set, is called with 1, 2 and so on when all vCPUs have come
	// to a mark, before they go on.
	AtMark func(n int)
}

// Result is what a guest reported.
type Result struct {
	VCPUs []VCPU
	// Marks are the moments when all vCPUs had come to the first mark, the
	// second and so on.
	Marks []time.Time
	End   time.Time // when the last vCPU was done
	// CyclesPerSecond is the rate of the guest's time-stamp counter.
	CyclesPerSecond float64
}

// VCPU is one vCPU's report.
type VCPU struct {
	Status    uint32
	Result    bare.Result
	Histogram *bare.Histogram // nil where Sample was 0
}

// Run runs a guest to its end. Its error says that the guest could not be set
// up, ended in another way than by all its vCPUs' exit, or was stopped because
// ctx was done; a status other than bare.StatusDone is no error.
func Run(ctx context.Context, sys *kvm.System, m *memory.Memory, s Spec) (*Result, error) {
	g, err := prepare(m, s)
	if err != nil {
		return nil, fmt.Errorf("bare guest %s: %w", s.Program.Name, err)
	}
	vm, err := vmm.New(vmm.Config{System: sys, Memory: m, VCPUs: len(s.Params), Start: g.start, Exits: g})
	if err != nil {
		return nil, fmt.Errorf("bare guest %s: %w", s.Program.Name, err)
	}
	outcome := vm.Run(ctx)
	if err := vm.Close(); err != nil {
		return nil, fmt.Errorf("bare guest %s: %w", s.Program.Name, err)
	}
	if outcome.End != vmm.Exited {
		return nil, &EndError{Program: s.Program.Name, Outcome: outcome}
	}
	return g.collect(m, s)
}

// EndError says that a guest ended in another way than by its own exit.
type EndError struct {
	Program string
	Outcome vmm.Outcome
}

func (e *EndError) Error() string {
	return fmt.Sprintf("bare guest %s: %v", e.Program, e.Outcome)
}

// Unwrap is the outcome's reason, if it has one.
func (e *EndError) Unwrap() error { return e.Outcome.Err }

func (g *guest) collect(m *memory.Memory, s Spec) (*Result, error) {
	r := &Result{Marks: g.marks, End: g.end, CyclesPerSecond: g.cycles}
	for i := range s.Params {
		v := VCPU{Status: g.status[i]}
		var b bare.Block
		if err := m.ReadAt(b.Bytes(), layout.GPA(bare.BlockAt(i))); err != nil {
			return nil, err
		}
		v.Result = b.Result
		if s.Params[i].Sample != 0 {
			v.Histogram = new(bare.Histogram)
			if err := m.ReadAt(v.Histogram.Bytes(), layout.GPA(bare.HistogramFor(i))); err != nil {
				return nil, err
			}
		}
		r.VCPUs = append(r.VCPUs, v)
	}
	return r, nil
}
