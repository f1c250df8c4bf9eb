package ept

import (
	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/ept/uffd"
)

// installRun maps the lines of a run, which are Mapping or, if writable,
// Opening, and have credits, with the contents in mem, by one system call.
func (p *Pager) installRun(sh *shard, r run, mem []byte, writable bool, why policy.Origin) {
	mode := uffd.ModeWP
	if writable {
		mode = 0
	}
	for r.count > 0 && !p.stopped() {
		done, err := sh.faults.Copy(p.layout.slotOf(r.first).hva(r.first), mem, mode)
		n := int(done >> excache.LineShift)
		p.installed(sh, run{r.first, n})
		r.first, r.count, mem = r.first+excache.Line(n), r.count-n, mem[done:]
		switch {
		case err == unix.EEXIST: // a page that is not ours: the line goes its own way
			p.perform(p.outcome(job{shard: sh, line: r.first, why: why, credit: true}, err, excache.Exists))
			r.first, r.count, mem = r.first+1, r.count-1, mem[excache.LineSize:]
		case err != nil && !p.again(err):
			p.checkRange(r.first, err)
			return
		}
	}
}

// installed steps the lines of a run whose system call is done.
func (p *Pager) installed(sh *shard, r run) {
	for i := range r.count {
		l := r.first + excache.Line(i)
		if do := sh.stepOne(l, excache.Installed, policy.Ahead); do != 0 {
			p.perform(job{shard: sh, line: l, do: do, credit: true})
		}
	}
}
