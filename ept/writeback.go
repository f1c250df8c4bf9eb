package ept

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/remote"
)

// writeBack is a batch of lines in state WritingBack on their way to all
// replicas.
type writeBack struct {
	evictor *evictor
	shard   *shard
	lines   []excache.Line // sorted
	zero    remote.LineSet // positions of lines that are all zero
	batch   *batch         // contents by position
	sent    time.Time
	pending atomic.Int32 // answers to come, and one while requests are being started
	failed  atomic.Pointer[error]
	begun   int // so many of lines are counted in Pager.changes
}

// writeBack write-protects lines that are Protecting and sends what stays so.
func (e *evictor) writeBack(sh *shard, lines []excache.Line) {
	p := e.pager
	p.layout.runs(lines, func(r run) {
		addr := p.layout.slotOf(r.first).hva(r.first)
		for {
			err := sh.faults.Protect(addr, uint64(r.count)*excache.LineSize)
			if !p.again(err) {
				p.checkRange(r.first, err)
				return
			}
		}
	})
	if p.stopped() {
		return
	}
	if cold := e.protected(sh, lines); len(cold) > 0 {
		e.send(sh, cold)
	}
}

// protected steps lines that are write-protected by now, and returns those that
// nobody wanted to write to meanwhile.
func (e *evictor) protected(sh *shard, lines []excache.Line) []excache.Line {
	cold := make([]excache.Line, 0, len(lines))
	for _, l := range lines {
		do := sh.stepOne(l, excache.Protected, policy.Demand)
		if do.Has(excache.WriteBack) {
			cold = append(cold, l)
			continue
		}
		e.pager.stats.Hot.Add(1)
		e.pager.perform(job{shard: sh, line: l, do: do, credit: true})
	}
	return cold
}

// send reads the lines' pages and starts the requests that write them back.
func (e *evictor) send(sh *shard, lines []excache.Line) {
	p := e.pager
	wb := &writeBack{evictor: e, shard: sh, lines: lines, batch: newBatch(), sent: time.Now()}
	wb.pending.Store(1)
	e.underWay++
	e.leaving += int64(len(lines))
	if err := wb.load(p); err != nil {
		p.fail(lines[0], err)
		return
	}
	wb.start(p)
	wb.WriteDone(nil)
}

// load copies the pages into the batch and finds those that are all zero. They
// are write-protected, so the copies are whole.
func (wb *writeBack) load(p *Pager) error {
	position := 0
	var failed error
	p.layout.runs(wb.lines, func(r run) {
		mem := wb.batch.lines(position, r.count)
		position += r.count
		if err := readFull(p.cfg.Memory, mem, p.layout.slotOf(r.first).offset(r.first)); err != nil && failed == nil {
			failed = fmt.Errorf("read page to write back: %w", err)
		}
	})
	for i := range wb.lines {
		if bytes.Equal(wb.batch.at(i), zeroes.at(0)) {
			wb.zero.Add(i)
		}
	}
	return failed
}

func readFull(fd int, mem []byte, off int64) error {
	for len(mem) > 0 {
		n, err := unix.Pread(fd, mem, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		mem, off = mem[n:], off+int64(n)
	}
	return nil
}

// start sends the lines to the owners of their vRegions, one vRegion a request.
func (wb *writeBack) start(p *Pager) {
	blank := wb.blank()
	for i := 0; i < len(wb.lines); {
		region, _ := p.layout.region(wb.lines[i])
		j := i + 1
		for j < len(wb.lines) {
			if other, _ := p.layout.region(wb.lines[j]); other != region {
				break
			}
			j++
		}
		at, err := wb.begin(p, region, j)
		if err != nil {
			wb.fail(fmt.Errorf("find owners of vRegion %d: %w", region, err))
			return
		}
		wb.request(p, at, i, j, &blank)
		i = j
	}
}

// begin counts the change of the lines up to position j, which are of a vRegion,
// and returns who is to be told.
func (wb *writeBack) begin(p *Pager, region, j int) (Region, error) {
	if err := p.changes.begin(p.ctx, region); err != nil {
		return Region{}, err
	}
	wb.begun = j
	at, err := p.cfg.Placement.Place(p.ctx, region)
	if err == nil && len(at.Owners) == 0 {
		err = errNoOwner
	}
	return at, err
}

// blank returns the positions of lines that have no backing.
func (wb *writeBack) blank() (set remote.LineSet) {
	wb.shard.mu.Lock()
	defer wb.shard.mu.Unlock()
	for i, l := range wb.lines {
		if wb.shard.pager.table.At(l).Has(excache.Blank) {
			set.Add(i)
		}
	}
	return set
}

// request starts the WRITE of the lines from position i to j, which are of one
// vRegion, and the DISCARD of those that became zero, at every owner.
func (wb *writeBack) request(p *Pager, at Region, i, j int, blank *remote.LineSet) {
	var writes, discards []remote.Run
	var mem [][]byte
	for ; i < j; i++ {
		_, line := p.layout.region(wb.lines[i])
		switch {
		case !wb.zero.Has(i):
			if extendRun(&writes, line) {
				last := &mem[len(mem)-1]
				*last = (*last)[:len(*last)+excache.LineSize]
			} else {
				mem = append(mem, wb.batch.lines(i, j-i)[:excache.LineSize])
			}
		case !blank.Has(i):
			extendRun(&discards, line)
		}
	}
	for _, o := range at.Owners {
		if len(writes) > 0 {
			wb.pending.Add(1)
			p.stats.WriteMessages.Add(1)
			p.peers.of(o).StartWrite(at.At, writes, mem, wb)
		}
		if len(discards) > 0 {
			wb.pending.Add(1)
			p.peers.of(o).StartDiscard(at.At, discards, wb)
		}
	}
}

// extendRun adds line to the last of runs if it continues it and the memory of
// both is adjacent, else as a new run.
func extendRun(runs *[]remote.Run, line remote.Line) bool {
	if n := len(*runs); n > 0 {
		last := &(*runs)[n-1]
		if last.First+remote.Line(last.Count) == line {
			last.Count++
			return true
		}
	}
	*runs = append(*runs, remote.Run{First: line, Count: 1})
	return false
}

func (wb *writeBack) fail(err error) { wb.failed.CompareAndSwap(nil, &err) }

// WriteDone implements WriteDone. The last answer hands the batch to the evictor.
func (wb *writeBack) WriteDone(err error) {
	if err != nil {
		wb.fail(err)
	}
	if wb.pending.Add(-1) > 0 {
		return
	}
	e := wb.evictor
	e.pager.changes.end(e.pager.layout, wb.lines[:wb.begun])
	e.mu.Lock()
	e.acked = append(e.acked, wb)
	e.mu.Unlock()
	e.kick()
}

// finish ends the batches that were answered.
func (e *evictor) finish() {
	e.mu.Lock()
	acked := e.acked
	e.acked = nil
	e.mu.Unlock()
	for _, wb := range acked {
		e.underWay--
		e.leaving -= int64(len(wb.lines))
		if failed := wb.failed.Load(); failed != nil {
			e.writeFailed(wb, *failed)
		} else {
			e.pager.stats.WriteBack.Observe(time.Since(wb.sent))
			lines, copies := e.settle(wb)
			e.drop(wb.shard, lines, copies)
		}
		wb.batch.free()
	}
}

// settle steps the lines of an acknowledged batch. It returns those to drop,
// with copies of those to hold back; lines that were written to meanwhile stay.
func (e *evictor) settle(wb *writeBack) (drop []excache.Line, copies []*frame) {
	sh := wb.shard
	drop = make([]excache.Line, 0, len(wb.lines))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i, l := range wb.lines {
		ev := excache.Acked
		if wb.zero.Has(i) {
			ev = excache.ZeroAcked
		}
		if _, err := sh.step(l, ev, policy.Demand); err != nil {
			sh.pager.broken(err)
			return nil, nil
		}
		if sh.pager.table.At(l).State() != excache.Clean {
			e.pager.stats.Hot.Add(1)
			continue
		}
		if do, err := sh.step(l, excache.Evict, policy.Demand); err != nil || !do.Has(excache.Punch) {
			continue
		}
		drop = append(drop, l)
		copies = append(copies, e.copyOf(wb, i))
	}
	e.pager.stats.ZeroLines.Add(uint64(wb.zero.Count()))
	e.pager.stats.WrittenBack.Add(uint64(len(wb.lines) - wb.zero.Count()))
	return drop, copies
}

// writeFailed keeps the lines of a batch that was not acknowledged, and waits a
// little before more is written.
func (e *evictor) writeFailed(wb *writeBack, err error) {
	p := e.pager
	p.stats.WriteErrors.Add(1)
	p.writeError.Store(&writeError{wb.lines[0], err})
	for _, l := range wb.lines {
		wb.shard.stepOne(l, excache.WriteFailed, policy.Demand)
	}
	e.pause()
}
