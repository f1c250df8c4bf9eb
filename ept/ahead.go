package ept

import (
	"slices"
	"time"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/ept/prefetch"
	"splitvm/remote"
)

// room returns how many lines may be brought ahead now; half of the demand's
// reserve is left alone.
func (p *Pager) room() int {
	return int(max(p.budget.free()-demandReserve(p.budget.capacity.Load())/2, 0))
}

// ahead brings the lines of an advice, as far as there are free frames, or opens
// them for writing if they are there.
func (p *Pager) ahead(a prefetch.Advice, open bool) {
	lines := make([]excache.Line, 0, prefetch.MaxWindow)
	mark := excache.Line(excache.MaxLines)
	for i := range a.Count {
		l, ok := a.At(i)
		if !ok || p.layout.slotOf(l) == nil {
			continue
		}
		if i == a.Mark {
			mark = l
		}
		lines = append(lines, l)
	}
	if a.Stride < 0 {
		slices.Reverse(lines)
	}
	for len(lines) > 0 { // of one vRegion, so one shard and one owner, at a time
		n, region := 0, int(lines[0]/excache.Line(p.layout.RegionLines))
		for n < len(lines) && n < batchLines && int(lines[n]/excache.Line(p.layout.RegionLines)) == region {
			n++
		}
		if open {
			p.openAhead(lines[:n], mark)
		} else {
			p.bringAhead(lines[:n], mark, a.Write)
		}
		lines = lines[n:]
	}
}

// openAhead makes clean lines of one shard writable, but for the mark.
func (p *Pager) openAhead(lines []excache.Line, mark excache.Line) {
	sh := p.shards[p.layout.shardOf(lines[0])]
	clean := make([]excache.Line, 0, len(lines))
	sh.mu.Lock()
	for _, l := range lines {
		if l == mark {
			continue
		}
		do, err := sh.step(l, excache.OpenAhead, policy.Ahead)
		if err == nil && do.Has(excache.Unprotect) {
			clean = append(clean, l)
		}
	}
	sh.mu.Unlock()
	p.stats.Opened.Add(uint64(len(clean)))
	p.layout.runs(clean, func(r run) {
		for {
			err := sh.faults.Unprotect(p.layout.slotOf(r.first).hva(r.first), uint64(r.count)*excache.LineSize, 0)
			if !p.again(err) {
				p.checkRange(r.first, err)
				break
			}
		}
		p.installed(sh, r)
	})
}

// bringAhead fetches lines of one vRegion, or fills them with zeroes. Of zero
// lines the mark is left alone: a fault on it is as cheap.
func (p *Pager) bringAhead(lines []excache.Line, mark excache.Line, write bool) {
	sh := p.shards[p.layout.shardOf(lines[0])]
	want := min(len(lines), p.room())
	if want == 0 || !p.budget.takeN(int64(want)) {
		p.stats.AheadFailed.Add(uint64(len(lines)))
		p.evictor.kick()
		return
	}
	zero, fetch := sh.claim(lines, want, mark, write)
	if left := want - len(zero) - len(fetch); left > 0 {
		p.release(int64(left))
	}
	p.checkFree()
	if len(fetch) > 0 {
		p.fetchAhead(sh, fetch, mark)
	}
	p.stats.AheadZero.Add(uint64(len(zero)))
	p.layout.runs(zero, func(r run) { p.installRun(sh, r, zeroes.lines(0, r.count), write, policy.Ahead) })
}

// claim steps up to want of the lines: those to fill with zeroes are Mapping or
// Opening on return, those to fetch Fetching.
func (sh *shard) claim(lines []excache.Line, want int, mark excache.Line, write bool) (zero, fetch []excache.Line) {
	ev := excache.Prefetch
	if write {
		ev = excache.PrefetchWrite
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, l := range lines {
		if len(zero)+len(fetch) == want {
			break
		}
		if l == mark && sh.pager.table.At(l).State() == excache.Zero {
			continue
		}
		do, err := sh.step(l, ev, policy.Ahead)
		switch {
		case err != nil:
			continue // the guest will find it
		case do.Has(excache.SendRead):
			fetch = append(fetch, l)
		case do.Has(zeroing):
			zero = append(zero, l)
		}
	}
	return zero, fetch
}

// aheadRead is a READ of lines that nobody asked for yet.
type aheadRead struct {
	pager *Pager
	shard *shard
	lines []excache.Line // sorted, of one vRegion
	runs  []remote.Run
	mark  excache.Line
	batch *batch
	sent  time.Time
}

// fetchAhead starts the READ of lines in state Fetching.
func (p *Pager) fetchAhead(sh *shard, lines []excache.Line, mark excache.Line) {
	r := &aheadRead{pager: p, shard: sh, lines: lines, mark: mark, batch: newBatch(), sent: time.Now()}
	i, _ := p.layout.region(lines[0])
	at, err := p.cfg.Placement.Region(i)
	if err == nil && len(at.Owners) == 0 {
		err = errNoOwner
	}
	if err != nil {
		r.ReadDone(nil, err)
		return
	}
	for _, l := range lines {
		_, line := p.layout.region(l)
		extendRun(&r.runs, line)
	}
	owner := p.peers.order(at.Owners, 0)
	p.peers.of(owner).StartRead(Read{At: at.At, Runs: r.runs, Mem: r.batch.lines(0, len(lines)), Deadline: r.sent.Add(aheadPatience)}, r)
}

// aheadPatience is how long a READ ahead has. After that a vCPU that has come for
// one of its lines gets a READ of its own, with another owner if there is one: it
// must not wait for a lost monitor twice.
const aheadPatience = 500 * time.Millisecond

// ReadDone implements ReadDone: it maps the lines, run by run.
func (r *aheadRead) ReadDone(absent *remote.LineSet, err error) {
	p, sh := r.pager, r.shard
	defer r.batch.free()
	if err != nil {
		p.stats.ReadErrors.Add(1)
		for _, l := range r.lines {
			r.giveUp(l)
		}
		return
	}
	p.stats.WireAhead.Observe(time.Since(r.sent))
	p.stats.Ahead.Add(uint64(len(r.lines)))
	for i := range r.lines {
		if absent.Has(i) {
			clear(r.batch.at(i))
		}
	}
	writable := make([]bool, len(r.lines))
	for i, l := range r.lines {
		writable[i] = r.arrived(i, l)
	}
	for i := 0; i < len(r.lines); {
		n := 1
		for i+n < len(r.lines) && r.together(i, i+n) && writable[i] == writable[i+n] {
			n++
		}
		if r.lines[i] != r.mark {
			p.installRun(sh, run{r.lines[i], n}, r.batch.lines(i, n), writable[i], policy.Ahead)
		}
		i += n
	}
	if n := sh.trimMarks(); n > 0 {
		p.release(int64(n))
	}
}

// together tells whether the lines at positions i and j > i, can be mapped by one call:
// those between can.
func (r *aheadRead) together(i, j int) bool {
	return r.lines[j] == r.lines[i]+excache.Line(j-i) && r.lines[i] != r.mark && r.lines[j] != r.mark
}

// arrived steps the line at position i, and tells whether it is to be mapped
// writable. The mark is dealt with on the spot.
func (r *aheadRead) arrived(i int, l excache.Line) (writable bool) {
	p, sh := r.pager, r.shard
	ev := excache.Fetched
	if l == r.mark {
		ev = excache.FetchedHold
	}
	sh.mu.Lock()
	do, err := sh.step(l, ev, policy.Ahead)
	if err != nil {
		sh.mu.Unlock()
		p.broken(err)
		return false
	}
	if l != r.mark {
		sh.mu.Unlock()
		return do.Has(excache.InstallRW)
	}
	f := newFrame()
	copy(f.data[:], r.batch.at(i))
	if p.table.At(l).State() == excache.Held {
		sh.held.put(l, f, true)
		f = nil
	}
	sh.mu.Unlock()
	if f != nil { // the guest is there already
		p.perform(job{shard: sh, line: l, do: do, why: policy.Ahead, frame: f, credit: true})
	}
	return false
}

// giveUp steps a line whose READ failed; who waits for it gets a READ of its own.
func (r *aheadRead) giveUp(l excache.Line) {
	p := r.pager
	p.stats.AheadFailed.Add(1)
	do := r.shard.stepOne(l, excache.FetchFailed, policy.Ahead)
	if do.Has(excache.SendRead) {
		p.perform(job{shard: r.shard, line: l, do: do, credit: true, since: time.Now()})
		return
	}
	p.release(1)
}
