package ept

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/ept/prefetch"
	"splitvm/ept/uffd"
)

var (
	errNoOwner = errors.New("its vRegion has no owner")

	// ErrGuestGone says that the process with the guest's memory has ended or
	// unmapped it.
	ErrGuestGone = errors.New("the guest's memory is gone")
)

// serve is the fault thread of the shard. It ends when the pager is closed: see
// interrupt. To wait in a read and not in a poll before it saves a system call
// that the vCPU would wait for.
func (sh *shard) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sh.thread.Store(int32(unix.Gettid()))
	reader := uffd.NewReader(sh.faults)
	for sh.pager.ctx.Err() == nil {
		events, err := reader.Read()
		if err != nil {
			sh.pager.broken(err)
			return
		}
		read := time.Now()
		if len(events) == 1 {
			sh.soon(read)
		}
		sh.take(events, read)
	}
}

// take handles a batch of events.
func (sh *shard) take(events []uffd.Event, read time.Time) {
	sh.pager.stats.Batches.Add(1)
	sh.lingering.taken.Add(int32(len(events)))
	for i := range events {
		sh.lingering.taken.Add(-1)
		sh.fault(&events[i], read)
	}
}

// interrupt ends the wait of the fault thread after the pager's context has
// ended: the signal, which the Go runtime ignores, has the kernel begin the read
// again, which doesn't wait any more.
func (sh *shard) interrupt() error {
	if err := sh.faults.SetBlocking(false); err != nil {
		return fmt.Errorf("stop fault thread: %w", err)
	}
	if id := sh.thread.Load(); id != 0 {
		unix.Tgkill(unix.Getpid(), int(id), unix.SIGURG) // fails if it has ended
	}
	return nil
}

// fault steps one event and performs what follows.
func (sh *shard) fault(e *uffd.Event, read time.Time) {
	p := sh.pager
	l, ok := p.layout.lineAt(HVA(e.Addr))
	if !ok { // the VMM registered memory that it didn't tell of
		p.stats.Foreign.Add(1)
		sh.faults.Wake(e.Addr, excache.LineSize)
		return
	}
	j, advice, err := sh.begin(l, e, read)
	if err != nil {
		p.broken(err)
		return
	}
	short := j.do.Has(installs | zeroing | excache.Unprotect)
	p.perform(j)
	if short {
		p.stats.Minor.Observe(time.Since(read))
	}
	if advice.Count > 0 {
		p.ahead(advice, j.do.Has(excache.Unprotect))
	}
}

// begin steps a fault and asks the prefetcher what else to bring.
func (sh *shard) begin(l excache.Line, e *uffd.Event, read time.Time) (job, prefetch.Advice, error) {
	p, ev := sh.pager, eventOf(e)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	was := p.table.At(l)
	p.stats.count(was, ev)
	j := job{shard: sh, line: l, since: read}
	if was.State() == excache.Held {
		j.why = policy.Returned
	}
	var err error
	if j.do, err = sh.step(l, ev, j.why); err != nil {
		return j, prefetch.Advice{}, err
	}
	switch was.State() {
	case excache.Held:
		c := sh.held.take(l)
		j.frame, j.credit = c.frame, true
		if c.mark {
			sh.faulted.Feedback(true)
			p.stats.MarksUsed.Add(1)
		}
		fallthrough
	case excache.Zero, excache.Remote, excache.Fetching:
		room := p.room()
		a := sh.faulted.Fault(l, ev != excache.ReadFault, room)
		if a.Count > 0 && 2*a.Count > room {
			p.wantFrames()
		}
		return j, a, nil
	case excache.Clean:
		if ev == excache.ProtectFault {
			return j, sh.upgraded.Fault(l, true, prefetch.MaxWindow), nil
		}
	}
	return j, prefetch.Advice{}, nil
}

func eventOf(e *uffd.Event) excache.Event {
	switch {
	case e.WP:
		return excache.ProtectFault
	case e.Write:
		return excache.WriteFault
	default:
		return excache.ReadFault
	}
}

// again tells whether a mapping system call is to be tried again, after a pause
// if there is no memory.
func (p *Pager) again(err error) bool {
	switch err {
	case unix.EAGAIN, unix.EINTR: // the VMM is changing its address space
		runtime.Gosched()
	case unix.ENOMEM: // the host, or the memory cgroup of the VMM
		p.stats.NoMemory.Add(1)
		time.Sleep(time.Millisecond)
	default:
		return false
	}
	return !p.stopped()
}

// checkRange fails the pager for an error that a call for a registered range
// should not give.
func (p *Pager) checkRange(l excache.Line, err error) {
	switch err {
	case nil:
	case unix.ENOENT, unix.ESRCH:
		p.broken(ErrGuestGone)
	default:
		p.fail(l, err)
	}
}
