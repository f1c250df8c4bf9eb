package ept

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"splitvm/ept/excache"
	"splitvm/remote"
)

// demandRead is a READ of one line that a vCPU waits for.
type demandRead struct {
	pager *Pager
	job   job // shard, line, frame, credit
	sent  time.Time
	first time.Time // of the first try
	tries int
	retry time.Time // when to try again; zero: an answer is awaited. Guarded by outstanding.mu
	at    Region
	owner int // that is asked now
	run   [1]remote.Run
}

var demandReads = sync.Pool{New: func() any { return new(demandRead) }}

// demand starts the READ of a job's line.
func (p *Pager) demand(j job) {
	r := demandReads.Get().(*demandRead)
	*r = demandRead{pager: p, job: j, first: j.since}
	if r.first.IsZero() {
		r.first = time.Now()
	}
	if r.job.frame == nil {
		r.job.frame = newFrame()
	}
	if !r.job.credit { // so that an evictor can find one while the READ is under way
		r.job.credit = p.budget.take()
		p.checkFree()
	}
	p.outstanding.add(r)
	r.start()
}

// start sends the READ to the next owner.
func (r *demandRead) start() {
	i, line := r.pager.layout.region(r.job.line)
	at, err := r.pager.cfg.Placement.Region(i)
	if err == nil && len(at.Owners) == 0 {
		err = errNoOwner
	}
	if err != nil {
		r.lost(err)
		return
	}
	r.at = at
	r.owner = r.pager.peers.order(at.Owners, r.tries)
	r.tries++
	r.sent = time.Now()
	if r.tries == 1 {
		r.pager.stats.Queue.Observe(r.sent.Sub(r.first))
	}
	r.run[0] = remote.Run{First: line, Count: 1}
	r.pager.peers.of(r.owner).StartRead(Read{Urgent: true, At: at.At, Runs: r.run[:], Mem: r.job.frame.data[:], Deadline: r.deadline()}, r)
}

// replicaPatience is how long a READ waits for one owner while there are others
// to ask.
const replicaPatience = 250 * time.Millisecond

// deadline returns when to give up on the owner that is asked now.
func (r *demandRead) deadline() time.Time {
	last := r.pager.awake.since(r.first).Add(r.pager.cfg.Deadline)
	if next := r.sent.Add(replicaPatience); len(r.at.Owners) > 1 && next.Before(last) {
		return next
	}
	return last
}

// ReadDone implements ReadDone: it maps the line and wakes the vCPU.
func (r *demandRead) ReadDone(absent *remote.LineSet, err error) {
	p := r.pager
	if err != nil {
		r.failed(err)
		return
	}
	arrived := time.Now()
	p.stats.Wire.Observe(arrived.Sub(r.sent))
	if absent.Has(0) {
		clear(r.job.frame.data[:])
	}
	p.outstanding.remove(r)
	j := r.job
	began := r.first
	*r = demandRead{}
	demandReads.Put(r)
	j.do = j.shard.stepOne(j.line, excache.Fetched, j.why)
	p.perform(j)
	end := time.Now()
	p.stats.Install.Observe(end.Sub(arrived))
	p.stats.Miss.Observe(end.Sub(began))
	j.shard.linger(end)
}

// failed tries again, with another owner and more slowly, until the deadline.
func (r *demandRead) failed(err error) {
	p := r.pager
	if p.stopped() {
		return
	}
	p.stats.ReadErrors.Add(1)
	p.peers.suspect(r.owner)
	if r.moved() {
		r.tries = 0
		p.outstanding.retry(r, time.Now())
		return
	}
	if !retryable(err) && r.tries >= len(r.at.Owners) || p.awake.waited(r.first) > p.cfg.Deadline {
		r.lost(err)
		return
	}
	p.outstanding.retry(r, time.Now().Add(backoff(r.tries-len(r.at.Owners))))
}

// moved tells whether the line is elsewhere by now.
func (r *demandRead) moved() bool {
	i, _ := r.pager.layout.region(r.job.line)
	now, err := r.pager.cfg.Placement.Region(i)
	return err == nil && now.At != r.at.At
}

// again sends the READ once more.
func (r *demandRead) again() {
	if do := r.job.shard.stepOne(r.job.line, excache.FetchFailed, r.job.why); do.Has(excache.SendRead) {
		r.start()
	}
}

// lost gives the line up and stops the vNode.
func (r *demandRead) lost(err error) {
	p := r.pager
	p.outstanding.remove(r)
	r.job.shard.stepOne(r.job.line, excache.FetchLost, r.job.why)
	p.fail(r.job.line, fmt.Errorf("read failed %d times in %v, last at %s: %w", r.tries, time.Since(r.first).Round(time.Millisecond), p.owners(Region{Owners: []int{r.owner}}), err))
}

// retryable tells whether the same request may succeed later.
func retryable(err error) bool {
	switch remote.KindOf(err) {
	case remote.Timeout, remote.Disconnected, remote.Corrupt, remote.Full, remote.Closing, remote.Fenced:
		return true
	}
	return false
}

// backoff is how long to wait before another round over the owners.
func backoff(round int) time.Duration {
	if round < 0 {
		return 0
	}
	return time.Millisecond << min(round, 8)
}

// owners names the owners of a vRegion.
func (p *Pager) owners(at Region) string {
	var names []string
	for _, o := range at.Owners {
		names = append(names, p.peers.of(o).String())
	}
	return strings.Join(names, ", ")
}
