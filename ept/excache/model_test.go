package excache

import "fmt"

// The model: a kernel, memory monitors, vCPUs and a pager that performs the
// machine's effects, small enough to be copied and compared. Every transition
// of it is one step that really is atomic; between any two of them anything else may
// happen, the pager's death included.

const (
	maxLines = 2
	maxVCPUs = 2
)

// pte is how the guest's mapping of a page stands.
type pte uint8

const (
	unmapped pte = iota
	readOnly
	writable
)

// content is what a line holds: a version's number, or zero for even ones, so
// that pages written full of zeroes are in the model too.
type content int8

const none content = -1

func contentOf(version int8) content {
	if version%2 == 0 {
		return 0
	}
	return content(version)
}

// operation is an effect that is being performed.
type operation struct {
	effect  Effects // 0: none
	done    bool    // the kernel or the monitors have done it, the outcome isn't stepped yet
	outcome Event
	value   content // payload in the pager's memory
}

// writing is a write-back.
type writing struct {
	stage writingStage
	value content
}

type writingStage uint8

const (
	idle    writingStage = iota
	reading              // the page is to be read
	sent                 // on its way
	applied              // by all replicas
)

type lineModel struct {
	entry   Entry
	page    content // none: not in the memfd
	pte     pte
	backing content // none: the monitors hold nothing
	held    content
	op      operation
	wb      writing
	latest  int8 // version
	fixing  bool // being repaired by a successor
	given   bool // the guest gave the content up, and waits for that
}

type fault struct {
	pending bool // there is one
	line    int8
	event   Event
}

type vcpu struct {
	left   int8 // accesses to make
	asleep bool
	queued fault // in the kernel's queue
	read   fault // read by the pager, not stepped yet
}

type world struct {
	lines [maxLines]lineModel
	vcpus [maxVCPUs]vcpu
	kills int8 // left
	fails int8 // of requests, left
}

// access is a vCPU's try to read or write a line. It returns false if the vCPU
// sleeps now.
func (w *world) access(v, l int, write bool) error {
	c, m := &w.vcpus[v], &w.lines[l]
	switch {
	case m.pte == writable || m.pte == readOnly && !write:
		if write {
			m.latest++
			m.page = contentOf(m.latest)
		} else if m.page != contentOf(m.latest) {
			return fmt.Errorf("stale read: line %d is %d, want %d", l, m.page, contentOf(m.latest))
		}
		c.left--
		return nil
	case m.pte == readOnly:
		c.queued = fault{true, int8(l), ProtectFault}
	case write:
		c.queued = fault{true, int8(l), WriteFault}
	default:
		c.queued = fault{true, int8(l), ReadFault}
	}
	c.asleep = true
	return nil
}

// wake wakes who sleeps for the line. Events that weren't read are withdrawn.
func (w *world) wake(l int) {
	for v := range w.vcpus {
		c := &w.vcpus[v]
		if c.asleep && (c.queued.pending && int(c.queued.line) == l || !c.queued.pending && c.sleepsFor(l)) {
			c.asleep = false
			c.queued = fault{}
		}
	}
}

// sleepsFor: a vCPU whose event was read sleeps for the line of that event, which
// is kept in queued.line.
func (c *vcpu) sleepsFor(l int) bool { return int(c.queued.line) == l }

// step steps the machine and starts the effects.
func (w *world) step(l int, ev Event, payload content) error {
	m := &w.lines[l]
	next, do, err := Step(m.entry, ev)
	if err != nil {
		return fmt.Errorf("line %d: %w", l, err)
	}
	if do.Has(Enter) != (next.Resident() && !m.entry.Resident()) || do.Has(Leave) != (!next.Resident() && m.entry.Resident()) {
		return fmt.Errorf("line %d: %v on %v: Enter or Leave is wrong in %v", l, ev, m.entry, do)
	}
	m.entry = next
	if do.Has(InstallRO|InstallRW) && ev != Fetched && ev != FetchedHold && ev != DroppedHold {
		payload, m.held = m.held, none
	}
	if next.State() == Held && ev != Prefetch {
		if payload != none {
			m.held = payload
		}
	}
	if do.Has(DropCopy) {
		m.held = none
	}
	switch {
	case do.Has(WriteBack):
		if m.wb.stage != idle {
			return fmt.Errorf("line %d: second write-back while one is unanswered", l)
		}
		m.wb = writing{stage: reading}
	case do.Has(Awaited):
		if m.op.effect != 0 {
			return fmt.Errorf("line %d: %v while %v is under way", l, do&Awaited, m.op.effect)
		}
		m.op = operation{effect: do & Awaited, value: payload}
	}
	if do.Has(WakeUp) {
		w.wake(l)
	}
	if do.Has(Stop) {
		return fmt.Errorf("line %d: lost: %v on %v", l, ev, m.entry)
	}
	return nil
}

// execute lets the kernel or the monitors do the line's operation.
func (w *world) execute(l int) error {
	m := &w.lines[l]
	op := &m.op
	op.done, op.outcome = true, Installed
	switch op.effect {
	case SendRead:
		op.outcome = Fetched
		op.value = max(m.backing, 0)
	case InstallRO, InstallRW, ZeroRO, ZeroRW:
		w.executeInstall(l)
	case ContinueRO, ContinueRW:
		w.executeContinue(l)
	case Unprotect:
		if m.pte == readOnly {
			m.pte = writable
		}
		w.wake(l)
	case Protect:
		if m.pte == writable {
			m.pte = readOnly
		}
		op.outcome = Protected
	case Punch:
		op.value = m.page
		m.page, m.pte = none, unmapped
		op.outcome = Dropped
	case SendDiscard:
		m.backing = none
		op.outcome = DiscardAcked
	default:
		return fmt.Errorf("line %d: several operations at once: %v", l, op.effect)
	}
	return nil
}

// executeInstall is UFFDIO_COPY or UFFDIO_ZEROPAGE.
func (w *world) executeInstall(l int) {
	m, op := &w.lines[l], &w.lines[l].op
	if m.page != none {
		op.outcome = Exists
		return
	}
	if op.effect == ZeroRO || op.effect == ZeroRW {
		op.value = 0
	}
	m.page = op.value
	m.mapPage(op.effect == InstallRW || op.effect == ZeroRW)
	w.wake(l)
}

// executeContinue is UFFDIO_CONTINUE.
func (w *world) executeContinue(l int) {
	m, op := &w.lines[l], &w.lines[l].op
	switch {
	case m.page == none:
		op.outcome = Gone
	case m.pte != unmapped:
		op.outcome = Mapped
	default:
		m.mapPage(op.effect == ContinueRW)
		w.wake(l)
	}
}

func (m *lineModel) mapPage(rw bool) {
	m.pte = readOnly
	if rw {
		m.pte = writable
	}
}

// report steps the outcome of the line's operation.
func (w *world) report(l int, outcome Event) error {
	op := w.lines[l].op
	w.lines[l].op = operation{}
	return w.step(l, outcome, op.value)
}

// advance moves the line's write-back one stage on.
func (w *world) advance(l int) error {
	m := &w.lines[l]
	switch m.wb.stage {
	case reading:
		m.wb.value = m.page
		if m.page == none {
			return fmt.Errorf("line %d: write-back of no page", l)
		}
		m.wb.stage = sent
	case sent:
		m.backing = m.wb.value
		if m.wb.value == 0 {
			m.backing = none // a DISCARD
		}
		m.wb.stage = applied
	case applied:
		ev := Acked
		if m.wb.value == 0 {
			ev = ZeroAcked
		}
		m.wb = writing{}
		return w.step(l, ev, none)
	}
	return nil
}

// kill ends the pager: what it had under way is gone, its writes are fenced.
func (w *world) kill(lines int) {
	w.kills--
	for l := range lines {
		m := &w.lines[l]
		m.op, m.wb, m.held, m.fixing = operation{}, writing{}, none, true
	}
	for v := range w.vcpus {
		w.vcpus[v].read = fault{}
	}
}

// recoverLine is Recover, but for tests of the model itself.
var recoverLine = Recover

// fix repairs a line after a kill: the punch and the store are two steps.
func (w *world) fix(l int) error {
	m := &w.lines[l]
	r := recoverLine(m.entry, m.page != none)
	if r.Punch && m.page != none {
		m.page, m.pte = none, unmapped
		return nil
	}
	m.entry = r.Entry
	m.fixing = false
	w.wake(l)
	if r.Entry.State() == Poisoned {
		return fmt.Errorf("line %d: lost: can't be repaired", l)
	}
	return nil
}

// check looks for what must never be.
func (w *world) check() error {
	for l := range w.lines {
		if err := w.lines[l].check(); err != nil {
			return fmt.Errorf("line %d: %w", l, err)
		}
	}
	return nil
}

// check: the current content is in one place that nobody will throw away, and the
// guest can write only where that is noticed.
func (m *lineModel) check() error {
	if m.given {
		return nil
	}
	current := contentOf(m.latest)
	if !m.entry.Valid() {
		return fmt.Errorf("invalid entry %#x", uint8(m.entry))
	}
	if m.fixing {
		return nil
	}
	backed := max(m.backing, 0) == current
	switch m.entry.State() {
	case Zero:
		if current != 0 && m.page == none {
			return fmt.Errorf("lost write: Zero, and latest is %d", current)
		}
	case Remote, Fetching, Held:
		if !backed && m.page == none {
			return fmt.Errorf("lost write: %v with backing %d, latest is %d", m.entry, m.backing, current)
		}
	case Mapping, Clean, Dropping:
		if m.pte == writable {
			return fmt.Errorf("%v and writable", m.entry)
		}
		if blank := m.entry.Has(Blank); blank && current != 0 && m.page != current || !blank && !backed && m.page != current {
			return fmt.Errorf("lost write: %v with backing %d, page %d, latest is %d", m.entry, m.backing, m.page, current)
		}
	case WritingBack:
		if m.pte == writable {
			return fmt.Errorf("%v and writable", m.entry)
		}
		fallthrough
	case Dirty, Protecting:
		if m.page != current {
			return fmt.Errorf("lost write: %v with page %d, latest is %d", m.entry, m.page, current)
		}
	}
	if m.held != none && m.entry.State() == Held && m.held != current {
		return fmt.Errorf("held copy is %d, latest is %d", m.held, current)
	}
	return nil
}
