package blockclient

// flushMark is a flush that all members have done.
type flushMark struct {
	seq  uint64 // requests that were submitted before it was done
	gens [MaxReplicas]uint64
}

// maxMarks bounds the list of flushes that may become common.
const maxMarks = 64

// oldestChange returns the sequence of the oldest change that is not done.
// Preconditions: mu is held.
func (v *Volume) oldestChange() uint64 {
	for r := v.open.head; r != nil; r = r.next {
		if r.changes() {
			return r.seq
		}
	}
	return v.seq + 1
}

// settledFlush returns the sequence of the newest flush such that all changes
// that were submitted before it was done are done by now: once another flush is
// done, everything up to it is the same and durable on all members.
// Preconditions: mu is held.
func (v *Volume) settledFlush() uint64 {
	oldest, best := v.oldestChange(), uint64(0)
	for _, m := range v.flushed {
		if m.seq < oldest {
			best = m.seq
		}
	}
	return best
}

// noteFlush notes a flush that all members have done. Preconditions: mu is held.
func (v *Volume) noteFlush(r *Request) {
	keep := v.flushed[:0]
	for _, m := range v.flushed {
		if m.seq == r.settled {
			v.common = m.gens
		}
		if m.seq > r.settled {
			keep = append(keep, m)
		}
	}
	if len(keep) == maxMarks {
		keep = keep[1:]
	}
	v.flushed = append(keep, flushMark{seq: v.seq, gens: r.gens})
	v.safe = max(v.safe, r.covers)
}
