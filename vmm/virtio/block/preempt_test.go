package block

import "testing"

// share is the part of passes in which a worker that finds so many requests
// preempts.
func (p *preemption) share(passes, requests int) float64 {
	n := 0
	for range passes {
		p.found(requests)
		p.found(0)
		if p.preempt {
			n++
		}
	}
	return float64(n) / float64(passes)
}

// A worker that finds one request a time preempts, but for trials; one that finds
// several never does. A change in the guest is noticed at the next trial.
func TestPreemption(t *testing.T) {
	const long = 100 * (trialPasses + preemptPasses)
	var p preemption
	if p.preempt {
		t.Error("a new worker preempts")
	}
	if s := p.share(long, 1); s < 0.93 || s > 0.95 {
		t.Errorf("one request at a time: %.3f of the passes preempt, want all but 1 in 16", s)
	}
	if p.share(preemptPasses+trialPasses, 8); p.preempt {
		t.Error("the end of single requests goes unnoticed")
	}
	if s := p.share(long, 2); s != 0 {
		t.Errorf("two requests at a time: %.3f of the passes preempt", s)
	}
	if p.share(2*trialPasses, 1); !p.preempt {
		t.Error("the begin of single requests goes unnoticed")
	}
}

// A queue with one and two requests in turn is not one of single requests.
func TestPreemptionMixed(t *testing.T) {
	var p preemption
	for i := range 100 * trialPasses {
		if p.found(1 + i%2); p.preempt {
			t.Fatal("preempts")
		}
	}
}
