package top

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"splitvm/remote/api"
)

var start = time.Unix(1_000_000, 0)

// vnode is one that runs and counts k thousands of everything a second.
func vnode(id uint64, name string, k, seconds uint64) VNode {
	n := k * 1000 * seconds
	return VNode{
		VNode: &api.VNode{Id: id, Run: 1, Processor: 7, State: api.VNodeState_VNODE_STATE_RUNNING, Spec: &api.VNodeSpec{Name: name, MemoryBytes: 1 << 30, Vcpus: 2}},
		Held:  k << 20, VRegions: []*api.VRegion{{Owners: []uint64{8}, HeldBytes: k << 20}},
		Counters: &Counters{CPU: time.Duration(k*seconds) * 100 * time.Millisecond, Disk: &Traffic{In: n, Out: 2 * n},
			ExCache: &ExCache{Used: 512 << 10, Limit: 1 << 20, Faults: 3 * n, Misses: n, Traffic: Traffic{In: 4 * n, Out: 5 * n}, P50: 30 * time.Microsecond}},
	}
}

// reading is of a quiet and a busy vNode and one that does not run.
func reading(seconds uint64) Reading {
	down := VNode{VNode: &api.VNode{Id: 3, State: api.VNodeState_VNODE_STATE_EXITED, Spec: &api.VNodeSpec{Name: "done"}}}
	return Reading{At: start.Add(time.Duration(seconds) * time.Second),
		VNodes: []VNode{vnode(1, "quiet", 1, seconds), vnode(2, "busy", 5, seconds), down},
		Monitors: []*api.Member{
			{Id: 7, Name: "proc", Role: api.Role_ROLE_PROCESSOR, State: api.MemberState_MEMBER_STATE_UP, Capacity: &api.Resources{ExcacheBytes: 1 << 30, Vcpus: 8}, Used: &api.Resources{ExcacheBytes: 1 << 29, Vcpus: 4}},
			{Id: 8, Name: "mem", Role: api.Role_ROLE_MEMORY, State: api.MemberState_MEMBER_STATE_DRAINING, Capacity: &api.Resources{MemoryBytes: 4 << 30}, Used: &api.Resources{MemoryBytes: 1 << 30}},
		}}
}

// screen is one that has had two readings.
func screen(t *testing.T) *Model {
	t.Helper()
	m := New(Config{Title: "rack", Read: func() Reading { return Reading{} }, Every: time.Second})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 24})
	m.Update(reading(10))
	m.Update(reading(12))
	return m
}

// lines are those of the screen that are about a name.
func lines(m *Model, name string) (words []string) {
	for line := range strings.Lines(ansi.Strip(m.screen())) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == name {
			words = f
		}
	}
	return words
}

// names are the vNodes as they are ordered.
func names(m *Model) (list []string) {
	for _, r := range m.rows {
		list = append(list, r.Spec.Name)
	}
	return list
}

func press(m *Model, code rune) tea.Cmd {
	text := ""
	if code < tea.KeyUp && code > ' ' {
		text = string(code)
	}
	_, cmd := m.Update(tea.KeyPressMsg{Code: code, Text: text})
	return cmd
}

func TestRates(t *testing.T) {
	m := screen(t)
	for _, want := range [][]string{
		{"busy", "running", "proc", "50.0", "512K/1M", "5k", "5M", "19.53K", "24.41K", "4.883K", "9.766K", "-", "-"},
		{"quiet", "running", "proc", "10.0", "512K/1M", "1k", "1M", "3.906K", "4.883K", "1000B", "1.953K", "-", "-"},
		{"done", "exited", "-", "-", "-", "0B", "-", "-", "-", "-", "-", "-"},
		{"proc", "processor", "up", "4", "vCPUs,", "512M", "of", "1G", "50"},
		{"mem", "memory", "draining", "1G", "of", "4G", "25"},
	} {
		if got := lines(m, want[0]); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// A run that is another one, or a vNode that is new, has no rates yet; a counter that began
// anew counts from there.
func TestRatesBeginAnew(t *testing.T) {
	m := screen(t)
	r := reading(14)
	r.VNodes[0].Run = 2
	*r.VNodes[1].Counters.ExCache = ExCache{Limit: 1 << 20, Misses: 20}
	m.Update(r)
	if got := lines(m, "quiet"); got[3] != none {
		t.Errorf("a new run: %q", got)
	}
	if got := lines(m, "busy"); got[5] != "10" {
		t.Errorf("a new pager: %q misses a second, want 10", got)
	}
}

func TestSort(t *testing.T) {
	m := screen(t)
	check := func(title string, want ...string) {
		t.Helper()
		if got := names(m); !reflect.DeepEqual(got, want) || !strings.Contains(m.summary(), "by "+title) {
			t.Errorf("%s: %q, want %q by %s", m.summary(), got, want, title)
		}
	}
	check("cpu%", "busy", "quiet", "done")
	press(m, 'r')
	check("cpu%, reversed", "done", "quiet", "busy")
	press(m, 'r')
	press(m, 's')
	check("excache", "busy", "quiet", "done")
	for range len(columns) - 4 {
		press(m, 's')
	}
	check("name", "busy", "done", "quiet")
	if m := New(Config{Sort: "miss/s"}); columns[m.sort].title != "MISS/S" {
		t.Errorf("--sort miss/s is by %s", columns[m.sort].title)
	}
}

// The chosen vNode stays chosen wherever it is sorted to; when it is gone, so are its
// details.
func TestChosen(t *testing.T) {
	m := screen(t)
	press(m, tea.KeyDown)
	if m.rows[m.cursor()].Spec.Name != "quiet" {
		t.Fatalf("down from the first is %s", m.rows[m.cursor()].Spec.Name)
	}
	press(m, 'r')
	if m.rows[m.cursor()].Spec.Name != "quiet" {
		t.Errorf("sorted otherwise, %s is chosen", m.rows[m.cursor()].Spec.Name)
	}
	press(m, tea.KeyEnter)
	if s := ansi.Strip(m.screen()); !strings.Contains(s, "mem: 1M in 1 vRegions") || !strings.Contains(s, "1k/s misses, 30µs at p50") || strings.Contains(s, "busy") {
		t.Errorf("details:\n%s", s)
	}
	press(m, 's')
	if !strings.Contains(m.summary(), "by cpu%") {
		t.Error("the list is sorted from the details")
	}
	r := reading(14)
	r.VNodes = r.VNodes[1:]
	m.Update(r)
	if got := lines(m, "busy"); got == nil || m.details {
		t.Errorf("without the chosen one:\n%s", m.screen())
	}
	press(m, tea.KeyEnter)
	press(m, tea.KeyEscape)
	if m.details {
		t.Error("still in the details")
	}
}

func TestPause(t *testing.T) {
	m := screen(t)
	press(m, 'p')
	before := m.screen()
	if !strings.Contains(before, "[paused]") {
		t.Errorf("does not say so: %s", before)
	}
	m.Update(reading(100))
	if _, cmd := m.Update(tick{}); m.screen() != before || cmd == nil {
		t.Error("what is paused changes, or never goes on")
	}
	press(m, 'p')
	if _, cmd := m.Update(tick{}); cmd == nil || reflect.TypeOf(cmd()) != reflect.TypeFor[Reading]() {
		t.Error("does not read again")
	}
}

func TestQuit(t *testing.T) {
	for _, msg := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}} {
		if _, cmd := screen(t).Update(msg); cmd == nil || reflect.TypeOf(cmd()) != reflect.TypeFor[tea.QuitMsg]() {
			t.Errorf("%v does not end it", msg)
		}
	}
}

// A rack that does not answer leaves what is known on the screen.
func TestTrouble(t *testing.T) {
	m := screen(t)
	_, cmd := m.Update(Reading{Err: errors.New("no\nleader")})
	if s := ansi.Strip(m.screen()); !strings.Contains(s, "does not answer: no leader") || lines(m, "busy") == nil || cmd == nil {
		t.Errorf("screen:\n%s", s)
	}
	m.Update(reading(14))
	if strings.Contains(m.screen(), "does not answer") {
		t.Error("the trouble is over, and still there")
	}
	r := reading(16)
	r.VNodes[1].Counters, r.VNodes[1].Err = nil, errors.New("VMM is busy")
	m.Update(r)
	m.choose(0)
	for m.rows[m.cursor()].Spec.Name != "busy" {
		press(m, tea.KeyDown)
	}
	press(m, tea.KeyEnter)
	if s := m.screen(); !strings.Contains(s, "VMM is busy") {
		t.Errorf("details:\n%s", s)
	}
}

// Whatever the window, nothing is outside of it, and the chosen vNode is in it.
func TestFits(t *testing.T) {
	m := New(Config{Title: "rack"})
	r := reading(10)
	for i := range uint64(60) {
		r.VNodes = append(r.VNodes, vnode(100+i, fmt.Sprintf("one-of-many-with-a-long-name-%d", i), i, 10))
		r.Monitors = append(r.Monitors, &api.Member{Id: 1000 + i, Name: fmt.Sprintf("storage-%d", i), Role: api.Role_ROLE_STORAGE})
	}
	m.Update(r)
	for range 40 {
		press(m, tea.KeyDown)
	}
	for _, details := range []bool{false, true} {
		m.details = details
		for w := 0; w < 180; w += 17 {
			for h := 0; h < 50; h += 3 {
				m.Update(tea.WindowSizeMsg{Width: w, Height: h})
				shown := strings.Split(m.screen(), "\n")
				if len(shown) > max(1, h) {
					t.Fatalf("%d lines in a window of %d", len(shown), h)
				}
				for _, l := range shown {
					if ansi.StringWidth(l) > max(1, w) {
						t.Fatalf("%d columns in a window of %d: %q", ansi.StringWidth(l), w, l)
					}
				}
				if h > 12 && !details && (m.first > m.cursor() || m.cursor() >= m.first+h) {
					t.Fatalf("from %d on in %d lines, without the chosen %d", m.first, h, m.cursor())
				}
			}
		}
	}
}
