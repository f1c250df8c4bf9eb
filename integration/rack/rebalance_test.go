package rack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// plan is what `rebalance -o json` prints.
type plan struct {
	Steps []struct {
		VRegion string `json:"vregion"`
		To      string `json:"to"`
		Why     string `json:"why"`
		Volume  string `json:"volume"`
	} `json:"steps"`
	Cancelled int `json:"cancelled"`
}

// A memory monitor that joins is used: by new vRegions at once, and by a rebalance,
// which moves no more than it says, under a guest that finds every word; what is even
// stays as it is.
func TestRebalance(t *testing.T) {
	r := up(t, "--memories", "2", "--memory", "64M")
	v := r.verifying("v", 64, atWill)
	if p := list[plan](r, "rebalance"); len(p.Steps) != 0 {
		t.Errorf("two monitors with as much each: %+v", p)
	}
	r.joined("new", "64M")
	id := r.idOf("new")
	before := r.owners()
	p := list[plan](r, "rebalance", "--dry-run")
	if len(p.Steps) != 2 || p.Steps[0].To != id || !strings.Contains(p.Steps[0].Why, "new 0 %") {
		t.Errorf("planned: %+v, want two moves to the new one", p)
	}
	if now := r.owners(); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("owners after a dry run: %v, before %v", now, before)
	}
	if p := list[plan](r, "rebalance"); len(p.Steps) != 2 {
		t.Errorf("moved: %+v, want two", p)
	}
	if n := r.owners(); n[id] != 2 || len(n) != 3 {
		t.Errorf("owners: %v, want 3, 3 and 2", n)
	}
	if p := list[plan](r, "rebalance"); len(p.Steps) != 0 {
		t.Errorf("once more: %+v", p)
	}
	if !r.happened("vregion.moved", "v", "to new") || !r.happened("rack.rebalance", "", "2 vRegions") {
		t.Error("no event says so")
	}
	r.logged("global-1", `msg=vregion.moved subject=v vID=\d+ .*vRegion=vr-[0-9a-f]+`)
	r.logged("processor-1", `msg="vNode started" vID=\d+`)
	r.must(append(small("w", 1<<40), "--detach")...)
	r.eventually("w has its memory", func() bool { return len(list[[]vregion](r, "vregion", "ls", "w")) == 4 })
	if n := r.owners()[id]; n < 4 {
		t.Errorf("the new monitor has %d vRegions, want two of w", n)
	}
	r.must("stop", "w")
	r.must("rm", "w")
	v.verified(6)
	r.empty()
}

// Ctrl-C ends the command and not the moves; --cancel ends what has not begun.
func TestRebalanceInterrupted(t *testing.T) {
	r := up(t, "--memories", "1", "--memory", "128M", "--lease", "60s")
	v := r.verifying("v", 32, inOrder)
	target := r.joined("new", "128M")
	r.signal(target.Pid, unix.SIGSTOP)
	cmd, out := r.watch("rebalance")
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); status(err) == 0 || !strings.Contains(out(), "the moves go on") {
		t.Errorf("the command: %v, %q", err, out())
	}
	p := list[plan](r, "rebalance", "--cancel")
	r.signal(target.Pid, unix.SIGCONT)
	r.eventually("nothing moves", func() bool { return r.moving() == 0 })
	if moved := r.owners()[r.idOf("new")]; moved > 1 || p.Cancelled != 3 {
		t.Errorf("%d moved and %d were cancelled, want 1 and 3", moved, p.Cancelled)
	}
	v.runs()
	r.must("rebalance")
	if n := r.owners()[r.idOf("new")]; n != 4 {
		t.Errorf("%d of 8 vRegions at the new monitor, want 4", n)
	}
	v.verified(6)
	r.empty()
}

// logged waits until a monitor's log has a line that matches.
func (r *rack) logged(name, pattern string) {
	r.t.Helper()
	want := regexp.MustCompile(pattern)
	r.eventually(name+"'s log has "+pattern, func() bool {
		text, err := os.ReadFile(filepath.Join(r.dir, "rack/logs", name+".log"))
		return err == nil && want.Match(text)
	})
}

// moving is how many vRegions are on their way.
func (r *rack) moving() (n int) {
	r.t.Helper()
	for _, x := range list[[]vregion](r, "vregion", "ls") {
		if x.Target != "" {
			n++
		}
	}
	return n
}
