package block

// preemption decides, from how many requests a queue's worker finds when it
// wakes, whether it should preempt the vCPU that wakes it. Where both share a CPU and
// the guest has more to hand over, one request at a time is slow; where the
// guest waits for its only request, so is letting it poll until it sleeps. Only a
// worker that does not preempt can tell which it is, so it tries that now and
// then. It is pure.
type preemption struct {
	preempt  bool
	passes   int // since the last decision, those that found something
	requests int // found in them
}

const (
	// trialPasses is how often a worker that doesn't preempt looks, to find how
	// many requests there are each time.
	trialPasses = 64
	// preemptPasses is how long one that does goes without a trial.
	preemptPasses = 15 * trialPasses
)

// found is told how many requests a pass found, and whether that changed what
// the worker should do.
func (p *preemption) found(requests int) (changed bool) {
	if requests == 0 {
		return false
	}
	p.passes++
	p.requests += requests
	if p.preempt && p.passes < preemptPasses || p.passes < trialPasses {
		return false
	}
	was := p.preempt
	p.preempt = !was && 2*p.requests < 3*p.passes
	p.passes, p.requests = 0, 0
	return p.preempt != was
}
