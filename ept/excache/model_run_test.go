package excache

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAllInterleavings: no lost write, no stale read, no line in two places, and
// no vCPU that sleeps for ever, whatever happens in whatever order.
func TestAllInterleavings(t *testing.T) {
	for name, s := range map[string]scope{
		"one line":         {lines: 1, vcpus: 2, accesses: 3, hold: true},
		"killed":           {lines: 1, vcpus: 2, accesses: 2, kills: 1, hold: true},
		"killed twice":     {lines: 1, vcpus: 1, accesses: 3, kills: 2},
		"failing requests": {lines: 1, vcpus: 2, accesses: 2, fails: 2, hold: true},
		"killed, failing":  {lines: 1, vcpus: 1, accesses: 3, kills: 1, fails: 1},
		"VMM unmaps":       {lines: 1, vcpus: 2, accesses: 2, unmaps: true},
		"preloaded":        {lines: 1, vcpus: 2, accesses: 2, kills: 1, preloaded: true},
		"discards":         {lines: 1, vcpus: 1, accesses: 3, discards: true, hold: true, fails: 1},
		"discards, killed": {lines: 1, vcpus: 1, accesses: 2, discards: true, kills: 1},
		"two lines":        {lines: 2, vcpus: 1, accesses: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := explore(s)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d worlds", n)
		})
	}
}

// TestModelFindsFaults: each rule that matters, broken, is noticed.
func TestModelFindsFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		scope scope
		want  string
		wreck func(c *[numEvents][256]outcome)
	}{
		{"an old write-back acknowledges a new content", scope{lines: 1, vcpus: 1, accesses: 3}, "second write-back", func(c *[numEvents][256]outcome) {
			c[Evict][MakeEntry(Dirty, Flight)] = outcome{MakeEntry(Protecting, 0), true, Protect}
		}},
		{"a hot line is dropped", scope{lines: 1, vcpus: 1, accesses: 3}, "writable", func(c *[numEvents][256]outcome) {
			c[Acked][MakeEntry(Dirty, Flight)] = outcome{MakeEntry(Clean, 0), true, 0}
		}},
		{"a write fault on the way out is forgotten", scope{lines: 1, vcpus: 1, accesses: 2}, "never go on", func(c *[numEvents][256]outcome) {
			c[ProtectFault][MakeEntry(Dropping, 0)] = outcome{MakeEntry(Dropping, 0), true, 0}
		}},
		{"a second reader is forgotten", scope{lines: 1, vcpus: 2, accesses: 1, preloaded: true}, "never go on", func(c *[numEvents][256]outcome) {
			c[ReadFault][MakeEntry(Opening, Blank)] = outcome{MakeEntry(Opening, Blank), true, 0}
			c[Mapped][MakeEntry(Opening, Blank)] = outcome{MakeEntry(Dirty, Blank), true, 0}
		}},
		{"a clean line is opened without a note", scope{lines: 1, vcpus: 1, accesses: 3}, "writable", func(c *[numEvents][256]outcome) {
			c[Installed][MakeEntry(Opening, 0)] = outcome{MakeEntry(Clean, 0), true, 0}
		}},
		{"a dirty line is dropped as clean", scope{lines: 1, vcpus: 1, accesses: 3}, "writable", func(c *[numEvents][256]outcome) {
			c[Evict][MakeEntry(Dirty, 0)] = outcome{MakeEntry(Dropping, 0), true, Punch}
		}},
		{"a zero line goes back to a stale backing", scope{lines: 1, vcpus: 1, accesses: 4}, "lost write", func(c *[numEvents][256]outcome) {
			c[Acked][MakeEntry(WritingBack, Blank)] = outcome{MakeEntry(Clean, Blank), true, 0}
		}},
		{"a failed write-back counts as done", scope{lines: 1, vcpus: 1, accesses: 2, fails: 1}, "lost write", func(c *[numEvents][256]outcome) {
			c[WriteFailed][MakeEntry(WritingBack, Blank)] = outcome{MakeEntry(Clean, 0), true, 0}
		}},
		{"a failed READ is not repeated", scope{lines: 1, vcpus: 1, accesses: 2, fails: 1}, "never go on", func(c *[numEvents][256]outcome) {
			c[FetchFailed][MakeEntry(Fetching, Wait)] = outcome{MakeEntry(Remote, 0), true, 0}
		}},
		{"a page that is there is overlooked", scope{lines: 1, vcpus: 1, accesses: 2, unmaps: true}, "never go on", func(c *[numEvents][256]outcome) {
			c[ReadFault][MakeEntry(Dirty, Blank)] = outcome{MakeEntry(Dirty, Blank), true, 0}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			right := *compiled
			defer func() { *compiled = right }()
			c.wreck(compiled)
			if _, err := explore(c.scope); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("found %v, want %q", err, c.want)
			}
		})
	}
}

// TestModelFindsBadRepairs: likewise for what a successor does.
func TestModelFindsBadRepairs(t *testing.T) {
	defer func() { recoverLine = Recover }()
	for _, s := range []State{Opening, Dirty, Protecting, WritingBack, Zero} {
		t.Run(s.String(), func(t *testing.T) {
			recoverLine = func(e Entry, present bool) Repair {
				if e.State() != s || !present {
					return Recover(e, present)
				}
				return Repair{Entry: MakeEntry(Remote, 0), Punch: true}
			}
			_, err := explore(scope{lines: 1, vcpus: 1, accesses: 3, kills: 1, preloaded: true})
			if err == nil {
				t.Errorf("a bad repair of %v was not noticed", s)
			}
		})
	}
}

// TestRandomOrders goes long random ways through a larger world.
func TestRandomOrders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &explorer{scope: scope{lines: 2, vcpus: 2, accesses: 100, kills: 5, fails: 10, hold: true,
			preloaded: rapid.Bool().Draw(t, "preloaded"), unmaps: rapid.Bool().Draw(t, "unmaps"), discards: rapid.Bool().Draw(t, "discards")}}
		w := x.start()
		for range 500 {
			moves := x.all(&w)
			if len(moves) == 0 {
				break
			}
			m := moves[rapid.IntRange(0, len(moves)-1).Draw(t, "move")]
			if m.err != nil {
				t.Fatalf("%s: %v", m.what, m.err)
			}
			w = m.next
		}
	})
}
