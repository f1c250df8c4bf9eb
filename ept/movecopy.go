package ept

import (
	"context"
	"fmt"

	"splitvm/remote"
)

// copyTries is how often a request of a move is sent whose payload arrives damaged.
// One that got no answer has been tried for long enough.
const copyTries = 4

// copy brings lines, which are busy, to the new owner as the old one has them.
// A line that changes after the READ becomes stale again when that change ends.
func (m *move) copy(ctx context.Context, lines []remote.Line, b *batch) (err error) {
	defer func() { m.give(lines, err) }()
	var absent remote.LineSet
	err = attempt(ctx, func(done *answered) {
		from := m.pager.peers.of(m.from.Owners[0])
		from.StartRead(Read{At: m.from.At, Runs: runsOf(lines), Mem: b.lines(0, len(lines))}, done)
	}, &absent)
	if err != nil {
		return fmt.Errorf("read %d lines: %w", len(lines), err)
	}
	held, gone, mem := m.sort(lines, &absent, b)
	if err := m.write(ctx, held, mem); err != nil {
		return fmt.Errorf("write %d lines: %w", len(held), err)
	}
	if err := m.discard(ctx, gone); err != nil {
		return fmt.Errorf("discard %d lines: %w", len(gone), err)
	}
	return nil
}

// sort tells lines that the old owner holds from those that only the new one does.
// The former are noted as sent before they are: an error may come after the effect.
func (m *move) sort(lines []remote.Line, absent *remote.LineSet, b *batch) (held, gone []remote.Line, mem [][]byte) {
	c := &m.pager.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, l := range lines {
		switch {
		case !absent.Has(i):
			m.sent.set(l)
			held = append(held, l)
			mem = append(mem, b.at(i))
		case m.sent.has(l):
			gone = append(gone, l)
		}
	}
	return held, gone, mem
}

func (m *move) write(ctx context.Context, lines []remote.Line, mem [][]byte) error {
	if len(lines) == 0 {
		return nil
	}
	return attempt(ctx, func(done *answered) { m.pager.peers.of(m.To).StartWrite(m.At, runsOf(lines), mem, done) }, nil)
}

func (m *move) discard(ctx context.Context, lines []remote.Line) error {
	if len(lines) == 0 {
		return nil
	}
	return attempt(ctx, func(done *answered) { m.pager.peers.of(m.To).StartDiscard(m.At, runsOf(lines), done) }, nil)
}

// runsOf makes runs of lines in their order.
func runsOf(lines []remote.Line) (runs []remote.Run) {
	for _, l := range lines {
		extendRun(&runs, l)
	}
	return runs
}

// attempt starts a request and waits for its end.
func attempt(ctx context.Context, start func(*answered), absent *remote.LineSet) error {
	for try := 1; ; try++ {
		done := &answered{ch: make(chan error, 1)}
		start(done)
		err := <-done.ch // in bounded time; the memory is the monitor's until then
		if absent != nil {
			*absent = done.absent
		}
		if err == nil || ctx.Err() != nil || try == copyTries || remote.KindOf(err) != remote.Corrupt {
			return err
		}
	}
}

// answered waits for the end of one request.
type answered struct {
	absent remote.LineSet
	ch     chan error
}

var (
	_ ReadDone  = (*answered)(nil)
	_ WriteDone = (*answered)(nil)
)

// ReadDone implements ReadDone.
func (a *answered) ReadDone(absent *remote.LineSet, err error) {
	if absent != nil {
		a.absent = *absent
	}
	a.ch <- err
}

// WriteDone implements WriteDone.
func (a *answered) WriteDone(err error) { a.ch <- err }
