package excache

import (
	"fmt"
	"strings"
)

// scope is how much of the world is explored.
type scope struct {
	lines, vcpus int
	accesses     int8 // of each vCPU
	kills, fails int8
	hold         bool // prefetched and dropped lines may be held back
	preloaded    bool // the VMM made line 0's page before the pager started
	unmaps       bool // the VMM may drop its mappings (MADV_DONTNEED)
	discards     bool // the guest may give lines up
}

// move is a transition: what it is called, and the world after it.
type move struct {
	what label
	due  bool // happens in bounded time; others may never happen
	next world
	err  error
}

// label is what a move is called; it is put together only when it is told.
type label struct {
	format string // of one or two values
	a, b   int
	effect Effects
	event  Event
}

func (l label) String() string {
	switch {
	case l.effect != 0:
		return fmt.Sprintf(l.format, l.effect, l.b)
	case l.event != 0:
		return fmt.Sprintf(l.format, l.event, l.b)
	case strings.Count(l.format, "%") == 1:
		return fmt.Sprintf(l.format, l.b)
	}
	return fmt.Sprintf(l.format, l.a, l.b)
}

// explorer lists the moves of a world.
type explorer struct {
	scope
	moves []move
}

// due adds a move that happens in bounded time.
func (x *explorer) due(w *world, what label, f func(*world) error) {
	x.may(w, what, f)
	x.moves[len(x.moves)-1].due = true
}

// may adds a move that may happen.
func (x *explorer) may(w *world, what label, f func(*world) error) {
	next := *w
	err := f(&next)
	if err == nil {
		err = next.check()
	}
	x.moves = append(x.moves, move{what, false, next, err})
}

// all lists every move of w.
func (x *explorer) all(w *world) []move {
	x.moves = x.moves[:0]
	for v := range x.vcpus {
		x.guest(w, v)
	}
	if w.repairing() {
		for l := range x.lines {
			if w.lines[l].fixing {
				x.due(w, label{format: "fix %d", b: l}, func(n *world) error { return n.fix(l) })
			}
		}
	} else {
		for l := range x.lines {
			x.pager(w, l)
		}
		for v := range x.vcpus {
			x.events(w, v)
		}
	}
	if w.kills > 0 {
		x.killed(w)
	}
	return x.moves
}

func (w *world) repairing() bool {
	for l := range w.lines {
		if w.lines[l].fixing {
			return true
		}
	}
	return false
}

// guest: a vCPU that is awake accesses any line, in any way.
func (x *explorer) guest(w *world, v int) {
	if w.vcpus[v].asleep || w.vcpus[v].left == 0 {
		return
	}
	for l := range x.lines {
		if w.lines[l].given {
			continue
		}
		x.due(w, label{format: "vcpu %d reads line %d", a: v, b: l}, func(n *world) error { return n.access(v, l, false) })
		x.due(w, label{format: "vcpu %d writes line %d", a: v, b: l}, func(n *world) error { return n.access(v, l, true) })
	}
}

// events: the pager reads a vCPU's event, and later steps it.
func (x *explorer) events(w *world, v int) {
	c := &w.vcpus[v]
	if c.queued.pending && !c.read.pending {
		x.due(w, label{format: "pager reads event of vcpu %d", b: v}, func(n *world) error {
			n.vcpus[v].read = n.vcpus[v].queued
			n.vcpus[v].queued.pending = false
			return nil
		})
	}
	if c.read.pending {
		x.due(w, label{format: "pager steps event of vcpu %d", b: v}, func(n *world) error {
			f := n.vcpus[v].read
			n.vcpus[v].read = fault{}
			return n.step(int(f.line), f.event, none)
		})
	}
}

// pager: a line's operation goes on, a policy moves it, a request fails.
func (x *explorer) pager(w *world, l int) {
	m := &w.lines[l]
	if m.op.effect != 0 {
		x.operation(w, l)
	}
	if m.wb.stage != idle {
		x.due(w, label{format: "write-back goes on, line %d", b: l}, func(n *world) error { return n.advance(l) })
	}
	if w.fails > 0 && m.wb.stage >= sent {
		x.may(w, label{format: "write-back fails, line %d", b: l}, func(n *world) error {
			n.fails--
			n.lines[l].wb = writing{}
			return n.step(l, WriteFailed, none)
		})
	}
	for _, ev := range x.policies() {
		if next, do, err := Step(m.entry, ev); err == nil && (next != m.entry || do != 0) {
			x.may(w, label{format: "policy: %v of line %d", event: ev, b: l}, func(n *world) error { return n.step(l, ev, none) })
		}
	}
	if x.discards {
		x.discard(w, l)
	}
	if x.unmaps && m.pte != unmapped && m.page != none {
		x.may(w, label{format: "VMM unmaps line %d", b: l}, func(n *world) error { n.lines[l].pte = unmapped; return nil })
	}
}

func (x *explorer) policies() []Event {
	return []Event{Prefetch, PrefetchWrite, OpenAhead, Evict, Reclaim}
}

// operation: it is done, or its outcome is stepped.
func (x *explorer) operation(w *world, l int) {
	op := w.lines[l].op
	if !op.done {
		x.due(w, label{format: "%v is done, line %d", effect: op.effect, b: l}, func(n *world) error { return n.execute(l) })
		return
	}
	x.due(w, label{format: "pager steps %v of line %d", event: op.outcome, b: l}, func(n *world) error { return n.report(l, op.outcome) })
	if x.hold && op.outcome == Fetched {
		x.may(w, label{format: "pager steps FetchedHold of line %d", b: l}, func(n *world) error { return n.report(l, FetchedHold) })
	}
	if x.hold && op.outcome == Dropped && !w.lines[l].entry.Has(Blank) {
		x.may(w, label{format: "pager steps DroppedHold of line %d", b: l}, func(n *world) error { return n.report(l, DroppedHold) })
	}
	if w.fails > 0 && op.effect&(SendRead|SendDiscard) != 0 {
		failed := FetchFailed
		if op.effect == SendDiscard {
			failed = DiscardFailed
		}
		x.may(w, label{format: "%v of line %d", event: failed, b: l}, func(n *world) error {
			n.fails--
			n.lines[l].op.value = none
			return n.report(l, failed)
		})
	}
}

// discard: the guest gives a line up that nobody touches, the pager steps
// Discard until it is Zero, and then the guest may use it again.
func (x *explorer) discard(w *world, l int) {
	m := &w.lines[l]
	for v := range x.vcpus {
		if c := &w.vcpus[v]; c.asleep && int(c.queued.line) == l || c.read.pending && int(c.read.line) == l {
			return
		}
	}
	switch {
	case !m.given:
		x.may(w, label{format: "guest gives up line %d", b: l}, func(n *world) error { n.lines[l].given = true; return nil })
	case m.entry.State() == Zero && m.op.effect == 0 && m.page == none:
		x.due(w, label{format: "line is given up %d", b: l}, func(n *world) error {
			n.lines[l].given, n.lines[l].latest = false, 0
			return nil
		})
	default:
		if next, _, err := Step(m.entry, Discard); err == nil && next != m.entry {
			x.due(w, label{format: "pager discards line %d", b: l}, func(n *world) error { return n.step(l, Discard, none) })
		}
	}
}

// killed: each write-back on its way arrives or doesn't, then all is fenced.
func (x *explorer) killed(w *world) {
	for arrive := range 1 << x.lines {
		x.may(w, label{format: "SIGKILL, arriving writes %d", b: arrive}, func(n *world) error {
			for l := range x.lines {
				if n.lines[l].wb.stage == sent && arrive>>l&1 != 0 {
					if err := n.advance(l); err != nil {
						return err
					}
				}
			}
			n.kill(x.lines)
			return nil
		})
	}
}

func (x *explorer) start() world {
	var w world
	w.kills, w.fails = x.kills, x.fails
	for l := range w.lines {
		w.lines[l] = lineModel{page: none, backing: none, held: none}
	}
	for v := range x.vcpus {
		w.vcpus[v].left = x.accesses
	}
	if x.preloaded {
		w.lines[0].page, w.lines[0].latest, w.lines[0].fixing = 1, 1, true
	}
	return w
}

// settled tells whether the guest is done.
func (w *world) settled() bool {
	for v := range w.vcpus {
		if w.vcpus[v].left > 0 {
			return false
		}
	}
	return true
}

// explore visits every world that can be reached, checks each, and then that
// from each the guest gets to its end by moves that are due. It returns how many there are.
func explore(s scope) (int, error) {
	x := &explorer{scope: s}
	g := &graph{index: make(map[world]int32)}
	g.add(x.start(), -1, label{})
	for i := 0; i < len(g.worlds); i++ {
		w := g.worlds[i]
		for _, m := range x.all(&w) {
			if m.err != nil {
				return 0, fmt.Errorf("%w\nafter:\n%s%s", m.err, g.story(int32(i)), m.what)
			}
			g.edge(int32(i), m)
		}
	}
	if stuck := g.stuck(); stuck >= 0 {
		return 0, fmt.Errorf("a vCPU can never go on: %+v\nafter:\n%s", g.worlds[stuck], g.story(stuck))
	}
	return len(g.worlds), nil
}

// graph is the worlds reached, and how.
type graph struct {
	worlds []world
	from   []int32
	how    []label
	into   [][]int32 // by world, those with a due move to it
	index  map[world]int32
}

func (g *graph) add(w world, from int32, how label) int32 {
	i := int32(len(g.worlds))
	g.worlds = append(g.worlds, w)
	g.from = append(g.from, from)
	g.how = append(g.how, how)
	g.into = append(g.into, nil)
	g.index[w] = i
	return i
}

func (g *graph) edge(from int32, m move) {
	to, ok := g.index[m.next]
	if !ok {
		to = g.add(m.next, from, m.what)
	}
	if m.due {
		g.into[to] = append(g.into[to], from)
	}
}

// story lists the moves from the start to a world.
func (g *graph) story(i int32) string {
	var lines []string
	for ; i > 0; i = g.from[i] {
		lines = append([]string{g.how[i].String()}, lines...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// stuck returns a world from which no end can be reached, -1 if there is none.
func (g *graph) stuck() int32 {
	good := make([]bool, len(g.worlds))
	var queue []int32
	for i := range g.worlds {
		if g.worlds[i].settled() {
			good[i] = true
			queue = append(queue, int32(i))
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, j := range g.into[i] {
			if !good[j] {
				good[j] = true
				queue = append(queue, j)
			}
		}
	}
	for i, ok := range good {
		if !ok {
			return int32(i)
		}
	}
	return -1
}
