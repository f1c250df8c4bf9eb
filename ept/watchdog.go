package ept

import (
	"errors"
	"fmt"
	"time"

	"splitvm/ept/excache"
)

// writeError is a write-back that failed, and one of its lines.
type writeError struct {
	line excache.Line
	err  error
}

// grace is what a monitor may be late by before the watchdog takes it for broken.
const grace = 2 * time.Second

var (
	errNoAnswer = errors.New("no answer and no error from its monitor")
	errNoFrame  = errors.New("no line of the ExCache can leave")
)

// watch stops the vNode when something waits beyond the deadline that nothing else
// would end: a fault without a free frame, or a READ that a monitor forgot.
func (p *Pager) watch() {
	tick := time.NewTicker(min(max(p.cfg.Deadline/8, 10*time.Millisecond), 200*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.failed:
			return
		case <-p.outstanding.wake:
			p.retryReads()
			continue
		case <-tick.C:
		}
		p.awake.tick()
		if j, ok := p.budget.longest(); ok && p.awake.waited(j.since) > p.cfg.Deadline {
			p.noFrame(j)
		}
		if l, since, ok := p.outstanding.oldest(); ok && p.awake.waited(since) > p.cfg.Deadline+grace {
			p.fail(l, errNoAnswer)
		}
		p.forgetFrames()
		p.checkFree() // an evictor that found nothing tries again
	}
}

// retryReads sends READs again whose time has come, until none is left to wait for.
func (p *Pager) retryReads() {
	for !p.stopped() {
		p.awake.tick()
		due, more := p.outstanding.due(time.Now())
		for _, r := range due {
			r.again()
		}
		if !more {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// noFrame reports a fault that waited too long for a free frame, and the
// write-back that is to blame.
func (p *Pager) noFrame(j job) {
	waited := time.Since(j.since).Round(time.Millisecond)
	if w := p.writeError.Load(); w != nil {
		p.fail(w.line, fmt.Errorf("no free frame for %v, since it can't be written back: %w", waited, w.err))
		return
	}
	p.fail(j.line, fmt.Errorf("no free frame for %v: %w", waited, errNoFrame))
}
