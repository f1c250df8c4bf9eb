package rack

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// givenBack is how many vRegions a vNode had at its end, by the event.
func (r *rack) givenBack(name string) int {
	r.t.Helper()
	for _, e := range list[[]event](r, "events") {
		if m := regexp.MustCompile(`(\d+) vRegions given back`).FindStringSubmatch(e.Text); e.Kind == "vnode.exited" && e.Subject == name && m != nil {
			n, _ := strconv.Atoi(m[1]) // digits
			return n
		}
	}
	r.t.Fatalf("no event of %s's end", name)
	return 0
}

// A vRegion gets its owner when a line of it first leaves the ExCache: a guest that
// touches a part of its memory has vRegions there only, and one that fits into its
// ExCache has none. But all of it is kept for it: what is not there is refused at once.
func TestPlacedWhenNeeded(t *testing.T) {
	r := up(t, "--memories", "2", "--memory", "64M")
	run := func(name, program, excache string) {
		t.Helper()
		r.must("run", "--global", "auto", "--name", name, "--bare", program, "--mem", "64M", "--vregion", "8M", "--excache", excache)
	}
	run("fits", "verify,in-order,accesses=1500", "16M")
	if n := r.givenBack("fits"); n != 0 {
		t.Errorf("what fits into its ExCache had %d vRegions", n)
	}
	run("part", "verify,in-order,accesses=4000", "2M") // 16 MiB from the start on
	if n := r.givenBack("part"); n < 2 || n > 3 {
		t.Errorf("a guest that touches a quarter of its 8 vRegions had %d", n)
	}
	if out, err := r.try("run", "--global", "auto", "--bare", "exit", "--mem", "136M", "--vregion", "8M"); err == nil || !strings.Contains(out, "may need 136 MiB") {
		t.Errorf("more than there is: %v, %s", err, out)
	}
	r.empty()
}

// A guest that needs vRegions while no global monitor is there waits, and goes on with
// the next one.
func TestPlacedByTheNext(t *testing.T) {
	r := up(t)
	const vregions = 32
	r.must("run", "--global", "auto", "--detach", "--name", "v", "--bare", fmt.Sprintf("verify,in-order,accesses=%d", 1<<40),
		"--mem", "256M", "--vregion", "8M", "--excache", "2M")
	v := r.vnode("v")
	before := 0
	r.eventually("it has begun", func() bool { before = len(list[[]vregion](r, "vregion", "ls", "v")); return before > 0 })
	r.signal(v.PID, unix.SIGSTOP) // for as long as it takes to kill the monitor
	before = len(list[[]vregion](r, "vregion", "ls", "v"))
	r.kill("global-1")
	r.signal(v.PID, unix.SIGCONT)
	r.must("rack", "up")
	r.eventually("it has all of its memory", func() bool { return len(list[[]vregion](r, "vregion", "ls", "v")) == vregions })
	if v = r.vnode("v"); v.State != "VNODE_STATE_RUNNING" || before == vregions {
		t.Errorf("%+v; it had %d vRegions when the global monitor was killed", v, before)
	}
	r.must("stop", "v")
	r.must("rm", "v")
	r.empty()
}
