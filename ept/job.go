package ept

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/ept/uffd"
)

// job is a line with the effects of its last step, on the thread that performs
// them.
type job struct {
	shard  *shard
	line   excache.Line
	do     excache.Effects
	why    policy.Origin
	frame  *frame // the payload, for InstallRO and InstallRW; the job's own
	credit bool   // the job has a credit for the line
	since  time.Time
}

const (
	installs = excache.InstallRO | excache.InstallRW
	zeroing  = excache.ZeroRO | excache.ZeroRW
	opening  = excache.InstallRW | excache.ZeroRW | excache.ContinueRW
)

// perform does the effects of a job, steps their outcomes, and so on until
// there is nothing left to do now.
func (p *Pager) perform(j job) {
	for j.do != 0 && !p.stopped() {
		switch {
		case j.do.Has(excache.Stop):
			p.fail(j.line, errors.New("its content is lost"))
			return
		case j.do.Has(excache.SendRead):
			p.demand(j)
			return
		case j.do.Has(installs | zeroing):
			if !j.credit && !p.grant(&j) {
				return
			}
			j = p.install(j)
		case j.do.Has(excache.ContinueRO | excache.ContinueRW | excache.Unprotect):
			j = p.remap(j)
		case j.do.Has(excache.WakeUp):
			p.checkRange(j.line, j.shard.faults.Wake(p.layout.slotOf(j.line).hva(j.line), excache.LineSize))
			return
		default:
			return
		}
	}
}

// grant finds a credit for the job, or queues it until there is one (false).
func (p *Pager) grant(j *job) bool {
	if p.budget.take() || j.shard.reclaim(1, 0) == 1 {
		j.credit = true
		p.checkFree()
		return true
	}
	p.stats.Starved.Add(1)
	p.evictor.kick()
	if p.budget.starve(*j) {
		return false
	}
	j.credit = true
	return true
}

// install maps the payload, or zeroes, and returns the job that follows.
func (p *Pager) install(j job) job {
	mode := uffd.Mode(0)
	if !j.do.Has(opening) {
		mode = uffd.ModeWP
	}
	addr := p.layout.slotOf(j.line).hva(j.line)
	var err error
	for {
		switch {
		case j.do.Has(installs):
			_, err = j.shard.faults.Copy(addr, j.frame.data[:], mode)
		case mode == uffd.ModeWP: // ZEROPAGE can't write-protect
			_, err = j.shard.faults.Copy(addr, zeroes.at(0), mode)
		default:
			_, err = j.shard.faults.Zeropage(addr, excache.LineSize, mode)
		}
		if !p.again(err) {
			break
		}
	}
	j.frame.free()
	j.frame = nil
	return p.outcome(j, err, excache.Exists)
}

// remap maps a page that is there, or makes it writable.
func (p *Pager) remap(j job) job {
	addr := p.layout.slotOf(j.line).hva(j.line)
	var err error
	for {
		switch {
		case j.do.Has(excache.ContinueRO):
			_, err = j.shard.faults.Continue(addr, excache.LineSize, uffd.ModeWP)
		case j.do.Has(excache.ContinueRW):
			_, err = j.shard.faults.Continue(addr, excache.LineSize, 0)
		default:
			err = j.shard.faults.Unprotect(addr, excache.LineSize, 0)
		}
		if !p.again(err) {
			break
		}
	}
	return p.outcome(j, err, excache.Mapped)
}

// outcome steps what a mapping system call said. EEXIST is the event there.
func (p *Pager) outcome(j job, err error, there excache.Event) job {
	ev := excache.Installed
	switch err {
	case nil:
	case unix.EEXIST:
		ev = there
	case unix.EFAULT:
		ev = excache.Gone
	case unix.EINVAL: // Continue can't write-protect before Linux 6.4
		ev = excache.Exists
	default:
		p.checkRange(j.line, err)
		j.do = 0
		return j
	}
	j.do = j.shard.stepOne(j.line, ev, j.why)
	return j
}
