package ept

import (
	"fmt"

	"splitvm/ept/excache"
	"splitvm/remote"
)

// Failure is why a vNode has to stop: a line that can't be served, or a pager
// that can't go on.
type Failure struct {
	Line    GPA              // 0 if it is not about a line
	VRegion remote.VRegionID // 0 likewise
	Owners  string           // addresses of the vRegion's monitors
	Reason  error
}

// Error says what failed and what to do.
func (f *Failure) Error() string {
	if f.VRegion == 0 && f.Owners == "" {
		return fmt.Sprintf("pager: %v", f.Reason)
	}
	return fmt.Sprintf("guest memory at %#x (%v, owned by %s) can't be served: %v; check these memory monitors, then start the vNode again",
		uint64(f.Line), f.VRegion, f.Owners, f.Reason)
}

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Reason }

// fail stops the pager because of a line.
func (p *Pager) fail(l excache.Line, reason error) {
	f := &Failure{Line: GPA(l << excache.LineShift), Reason: reason}
	i, _ := p.layout.region(l)
	if at, err := p.cfg.Placement.Region(i); err == nil {
		f.VRegion, f.Owners = at.At.VRegion, p.owners(at)
	}
	p.report(f)
}

// broken stops the pager for a reason of its own.
func (p *Pager) broken(reason error) { p.report(&Failure{Reason: reason}) }

// report tells the first failure; the pager serves nothing from then on, and
// leaves the table and the memfd as they are.
func (p *Pager) report(f *Failure) {
	p.failOnce.Do(func() {
		p.failure = f
		close(p.failed)
	})
}
