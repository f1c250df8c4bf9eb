//go:build amd64

package micro

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"splitvm/integration/require"
)

func options(backends ...string) Options {
	return Options{
		Backends: backends, Patterns: Patterns(), Writes: []float64{0.5}, VCPUs: []int{1}, Caches: []int{50},
		WorkingSet: 16 << 20, Accesses: 4096, Rounds: 1, Seed: 1, Timeout: 4 * time.Minute, Parts: testParts,
	}
}

func run(t *testing.T, o Options) *Report {
	t.Helper()
	require.KVM(t)
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cells() {
		t.Log(c)
	}
	return r
}

func TestLocalMissesNothing(t *testing.T) {
	o := options(Local)
	o.VCPUs = []int{1, 2}
	for _, row := range run(t, o).Rows {
		m := row.Median
		if m.Misses > 0.001 || m.Access <= 0 || m.PerSecond <= 0 || row.ToLocal != 1 {
			t.Errorf("%v: %+v", row.Cell, m)
		}
		if row.Pattern != Stream && (m.P50 <= 0 || m.P50 > m.P99 || m.P99 > m.P999 || m.P999 > m.Longest) {
			t.Errorf("%v: quantiles %+v", row.Cell, m)
		}
	}
}

// The floor and the model miss as often as their cache is too small for the pattern, and a
// miss costs microseconds.
func TestFloorMissesWhatItsCacheLacks(t *testing.T) {
	require.UFFD(t)
	o := options(Floor, Model, Local)
	o.Caches = []int{100, 50, 10}
	for _, row := range run(t, o).Rows {
		if row.Backend == Local {
			continue
		}
		low, high := expectedMisses(row.Cell)
		if m := row.Median.Misses; m < low || m > high {
			t.Errorf("%v: %.3f misses by access, want %.3f to %.3f", row.Cell, m, low, high)
		}
		if row.Median.Misses > 0.3 && row.Pattern != First && row.ToLocal < 3 && !timesLocal(t, o, row.Cell, 3) { // a first touch is a fault in local memory too
			t.Errorf("%v: only %.2f times local's time", row.Cell, row.ToLocal)
		}
	}
}

// timesLocal tells whether a cell takes so many times as long as local memory, in one
// of some more tries: local memory takes less than a millisecond here, in which a busy
// machine may stop it for longer than everything else takes.
func timesLocal(t *testing.T, o Options, c Cell, times float64) bool {
	t.Helper()
	o.Backends, o.Patterns, o.Caches = []string{c.Backend, Local}, []Pattern{c.Pattern}, []int{c.Cache}
	for range 10 {
		for _, row := range run(t, o).Rows {
			if row.Backend == c.Backend && row.ToLocal >= times {
				return true
			}
		}
	}
	return false
}

// expectedMisses bounds the misses of a cache that drops the oldest lines.
func expectedMisses(c Cell) (low, high float64) {
	share := float64(c.Cache) / 100
	switch {
	case c.Pattern == First:
		return 0.99, 1.01
	case c.Cache == 100:
		return 0, 0.001
	case c.Pattern == Random:
		return 0.9 * (1 - share), 1.2 * (1 - share)
	case c.Pattern == Zipf:
		return 0.05, 0.9 * (1 - share)
	case c.Pattern == Stream:
		return 0.9 / 64, 1.1 / 64
	}
	return 0.99, 1.02 // what comes round again is always the longest gone
}

// Remote memory misses no more than a cache that drops the oldest line, and
// what it misses has come from a monitor.
func TestRemoteMisses(t *testing.T) {
	require.UFFD(t)
	o := options(Remote+"+off", Local)
	o.Caches, o.VCPUs = []int{100, 25}, []int{1, 2}
	for _, row := range run(t, o).Rows {
		if row.Backend == Local {
			continue
		}
		_, high := expectedMisses(row.Cell)
		m := row.Rounds[0]
		if m.Misses > high+0.05 || m.Pager == nil {
			t.Errorf("%v: %.3f misses by access, want %.3f at most", row.Cell, m.Misses, high)
		}
		if s := m.Pager; row.Cache < 100 && row.Pattern != First && (s.Missed == 0 || s.WrittenBack == 0 || s.Used > s.Capacity) {
			t.Errorf("%v: %+v", row.Cell, s)
		}
	}
}

// It swaps on this host, which nobody expects of a test unless asked.
func TestSwap(t *testing.T) {
	if os.Getenv("SPLITVM_SOAK") == "" {
		t.Skip("swaps to zram: set SPLITVM_SOAK, as root")
	}
	o := options(Swap)
	o.WorkingSet, o.Caches = 64<<20, []int{100, 50, 25}
	before := swaps(t)
	for _, row := range run(t, o).Rows {
		low, high := expectedMisses(row.Cell)
		if row.Pattern == First {
			continue // nothing comes from swap
		}
		if m := row.Median.Misses; m < 0.9*low || m > 1.1*high+0.02 {
			t.Errorf("%v: %.3f misses by access, want %.3f to %.3f", row.Cell, m, low, high)
		}
		if limit := row.CacheLines() << 12; row.Median.Resident > limit+limit/20+1<<20 {
			t.Errorf("%v: %d MiB resident of %d", row.Cell, row.Median.Resident>>20, limit>>20)
		}
	}
	if after := swaps(t); after != before {
		t.Errorf("swaps are now %s; were %s", after, before)
	}
}

func swaps(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/swaps")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPlot(t *testing.T) {
	o := options(Local)
	o.Patterns, o.Caches, o.Rounds = []Pattern{Random, Chase}, []int{100, 50}, 2
	r := run(t, o)
	var b bytes.Buffer
	if err := r.WritePlot(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("no XML: %v\n%s", err, b.Bytes())
		}
	}
	if n := strings.Count(b.String(), "<circle"); n != 4 {
		t.Errorf("%d points, want 4", n)
	}
}

// A guest's process that dies is an error that says what it said, and leaves no
// process behind.
func TestPartThatFails(t *testing.T) {
	o := options(Local)
	o.Parts = func(ctx context.Context, _ string) *exec.Cmd {
		return exec.CommandContext(ctx, "sh", "-c", "echo no luck >&2; exit 3")
	}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("error is %v", err)
	}
	o.Parts = func(ctx context.Context, _ string) *exec.Cmd { return exec.CommandContext(ctx, "sleep", "1000") }
	o.Timeout = 100 * time.Millisecond
	begin := time.Now()
	if _, err := Run(t.Context(), o); err == nil || time.Since(begin) > time.Minute {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

// A guest that takes too long is an error that says so, and what its pager did if it
// came to that.
func TestTooLong(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	o := options(Remote)
	o.Patterns, o.Accesses = []Pattern{Random}, 1<<40
	missed := regexp.MustCompile(`the pager: {.*"faults_missed":[1-9]`)
	for o.Timeout = 5 * time.Second; ; o.Timeout *= 2 {
		_, err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("longer than %v", o.Timeout)) {
			t.Fatalf("error is %v", err)
		}
		if missed.MatchString(err.Error()) {
			return
		}
		if o.Timeout > 2*time.Minute {
			t.Fatalf("nothing of what the pager did in %v: %v", o.Timeout, err)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, spoil := range map[string]func(o *Options){
		"remote":  func(o *Options) { o.Backends = []string{"remote+slow"} },
		"backend": func(o *Options) { o.Backends = []string{"tape"} },
		"pattern": func(o *Options) { o.Patterns = []Pattern{"knit"} },
		"nothing": func(o *Options) { o.Caches = nil },
		"rounds":  func(o *Options) { o.Rounds = 0 },
		"small":   func(o *Options) { o.WorkingSet = 1 << 20 },
		"vCPUs":   func(o *Options) { o.VCPUs = []int{1, 64} },
	} {
		o := options(Local)
		spoil(&o)
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Each round of a scene has all backends, beginning with another one.
func TestScenes(t *testing.T) {
	o := options(Local, Floor)
	o.Patterns, o.Caches, o.VCPUs = []Pattern{Random, First}, []int{100, 50}, []int{1, 2}
	o.Writes = []float64{0, 0.5}
	scenes := o.scenes()
	if len(scenes) != 2*2*2+2*2 {
		t.Errorf("%d scenes", len(scenes))
	}
	for _, cells := range scenes {
		a, b := cells[0], cells[1]
		if a.Backend != Local || b.Backend != Floor {
			t.Errorf("backends %s and %s", a.Backend, b.Backend)
		}
		b.Backend = Local
		if a != b || a.Pattern == First && a.Writes != 1 {
			t.Errorf("a scene with different cells: %v, %v", a, b)
		}
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	o := options(Local, Floor)
	c := &collector{rounds: map[Cell][]Measurement{}}
	one, two := Cell{Backend: Local, Pattern: Random}, Cell{Backend: Floor, Pattern: Random}
	for _, slow := range []float64{1, 10, 3} { // the host's moods
		c.add(two, Measurement{Access: 20 * slow})
		c.add(one, Measurement{Access: 2 * slow})
	}
	r := c.report(&o, nil)
	if len(r.Rows) != 2 || r.Rows[0].Backend != Local || r.Rows[1].ToLocal != 10 || r.Rows[1].Median.Access != 60 || r.Rows[0].ToFloor != 0.1 || r.Rows[0].ToSwap != 0 {
		t.Errorf("%+v", r.Rows)
	}
	if got := []float64{middle(nil), middle([]float64{3}), middle([]float64{4, 1}), middle([]float64{9, 1, 2})}; !slices.Equal(got, []float64{0, 3, 2.5, 2}) {
		t.Errorf("medians %v", got)
	}
}
