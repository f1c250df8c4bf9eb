package linuxabi

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestEveryCallHasOneMonitor(t *testing.T) {
	given := map[string]int{}
	for _, r := range rules {
		if _, ok := monitorNames[r.monitor]; !ok {
			t.Errorf("a rule gives %.40s... to %v", r.calls, r.monitor)
		}
		for call := range strings.FieldsSeq(r.calls) {
			given[call]++
		}
	}
	for _, s := range All() {
		if given[s.Name] != 1 {
			t.Errorf("%s (%d) is in %d rules, want one", s.Name, s.Number, given[s.Name])
		}
		delete(given, s.Name)
	}
	for call := range given {
		t.Errorf("a rule has %s, which is no system call", call)
	}
}

func TestTableIsOrderedAndNamesAreUnique(t *testing.T) {
	names := map[string]Number{}
	last := -1
	for _, s := range All() {
		if int(s.Number) <= last {
			t.Errorf("%s (%d) comes after %d", s.Name, s.Number, last)
		}
		last = int(s.Number)
		if other, ok := names[s.Name]; ok {
			t.Errorf("%s has the numbers %d and %d", s.Name, other, s.Number)
		}
		names[s.Name] = s.Number
	}
	if len(names) < 380 {
		t.Errorf("%d calls; Linux 6.12 has more", len(names))
	}
}

// Some that are known for certain: the table is not shifted, and levels are
// told apart.
func TestKnownCalls(t *testing.T) {
	for _, want := range []Syscall{
		{Number: 0, Name: "read", Monitor: Storage, Support: Full, Lego: true},
		{Number: 9, Name: "mmap", Monitor: Memory, Support: Full, Lego: true},
		{Number: 41, Name: "socket", Monitor: Network, Support: Full, Lego: true},
		{Number: 56, Name: "clone", Monitor: Processor, Support: Partial, Lego: true},
		{Number: 156, Name: "_sysctl", Monitor: Processor, Support: Unimplemented},
		{Number: 323, Name: "userfaultfd", Monitor: Memory, Support: Unimplemented},
		{Number: 435, Name: "clone3", Monitor: Processor, Support: Partial},
		{Number: 462, Name: "mseal", Monitor: Memory, Support: Absent},
	} {
		i := slices.IndexFunc(All(), func(s Syscall) bool { return s.Number == want.Number })
		if i < 0 {
			t.Errorf("%s (%d) is missing", want.Name, want.Number)
			continue
		}
		got := All()[i]
		if got.Name != want.Name || got.Monitor != want.Monitor || got.Support != want.Support || got.Lego != want.Lego {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got.Support != Full && got.Support != Absent && got.Note == "" {
			t.Errorf("%s is %v without a note", got.Name, got.Support)
		}
	}
}

func TestLegoCallsAreCalls(t *testing.T) {
	if len(lego) != 108 {
		t.Errorf("LegoOS has %d Linux calls, want 108", len(lego))
	}
	count := 0
	for _, s := range All() {
		if s.Lego {
			count++
		}
	}
	if count != len(lego) {
		t.Errorf("%d calls of the table are LegoOS's, want %d: a name is misspelt or there twice", count, len(lego))
	}
}

func TestNamesAsText(t *testing.T) {
	data, err := json.Marshal(All()[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"number":0,"name":"read","monitor":"storage","support":"full","lego":true}`; string(data) != want {
		t.Errorf("got %s, want %s", data, want)
	}
	for m := range monitorNames {
		if got, err := ParseMonitor(m.String()); got != m || err != nil {
			t.Errorf("ParseMonitor(%q) = %v, %v", m, got, err)
		}
	}
	if _, err := ParseMonitor("cpu"); err == nil {
		t.Error("ParseMonitor took cpu")
	}
}
