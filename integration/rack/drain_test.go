package rack

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/remote"
)

// verifier is a vNode with 8 vRegions that writes and checks its memory for as long
// as it is let.
type verifier struct {
	r     *rack
	name  string
	lines uint64
}

// verifying starts one with some MiB of memory and waits until most of it is at
// memory monitors. It goes over its lines in order, or jumps about.
func (r *rack) verifying(name string, mem int, how string) *verifier {
	r.t.Helper()
	size := func(part int) string { return fmt.Sprintf("%dM", mem/part) }
	r.must("run", "--global", "auto", "--detach", "--name", name, "--bare", fmt.Sprintf("verify,writes=0.5,accesses=%d%s", uint64(1)<<40, how),
		"--mem", size(1), "--vregion", size(8), "--excache", size(8))
	r.eventually(name+" has most of its memory at monitors", func() bool { return sum(r.held()) > float64(mem<<20)*0.6 })
	return &verifier{r, name, uint64(mem) << 20 / remote.LineSize}
}

const (
	inOrder = ",in-order"
	atWill  = ""
)

// fetched is how many lines have come from memory monitors since its pager started.
func (v *verifier) fetched() uint64 {
	v.r.t.Helper()
	s := list[struct {
		ExCache struct {
			Missed uint64 `json:"faults_missed"`
			Ahead  uint64 `json:"lines_ahead"`
		} `json:"excache"`
	}](v.r, "stats", v.name)
	return s.ExCache.Missed + s.ExCache.Ahead
}

// runs fails the test if the guest has not outlasted what was done to its rack.
func (v *verifier) runs() bool {
	v.r.t.Helper()
	now := v.r.vnode(v.name)
	if now.State != "VNODE_STATE_RUNNING" {
		v.r.t.Fatalf("%s does not run: %+v\n%s", v.name, now, v.r.must("logs", v.name))
	}
	return true
}

// verified waits until the guest has fetched its memory so many times over and found
// no wrong word, and removes it.
func (v *verifier) verified(times uint64) {
	v.r.t.Helper()
	v.runs()
	enough := v.fetched() + times*v.lines
	v.r.eventually(v.name+" has checked its memory", func() bool { return v.runs() && v.fetched() >= enough })
	v.r.must("stop", v.name)
	if now := v.r.vnode(v.name); now.ExitStatus != 143 {
		v.r.t.Errorf("%s was stopped: %+v", v.name, now)
	}
	v.r.must("rm", v.name)
}

// drained is what `monitor drain -o json` prints.
type drained struct {
	Member struct {
		State string `json:"state"`
	} `json:"member"`
	Left    int        `json:"vregions_left"`
	Volumes int        `json:"volumes_left"`
	Moving  []struct{} `json:"moving"`
	Waiting string     `json:"waiting"`
}

// owner counts the vRegions of each owner.
func (r *rack) owners() map[string]int {
	count := map[string]int{}
	for _, x := range list[[]vregion](r, "vregion", "ls") {
		count[x.Owners[0]]++
	}
	return count
}

// idOf is a monitor's id in the rack.
func (r *rack) idOf(name string) string {
	r.t.Helper()
	for _, m := range list[[]member](r, "monitor", "ls") {
		if m.Name == name {
			return m.ID
		}
	}
	r.t.Fatalf("no member %s", name)
	return ""
}

// A memory monitor is drained under a verifying guest, holds nothing afterwards,
// gets nothing new, and can be stopped; the guest finds every word.
func TestDrain(t *testing.T) {
	r := up(t, "--memories", "3", "--memory", "256M", "--lease", "6s")
	v := r.verifying("v", 64, atWill)
	id := r.idOf("memory-1")
	if r.owners()[id] == 0 {
		t.Fatal("memory-1 has nothing to be drained")
	}
	d := list[drained](r, "monitor", "drain", "memory-1")
	if d.Member.State != "MEMBER_STATE_DRAINED" || d.Left != 0 {
		t.Errorf("drained: %+v", d)
	}
	v.runs()
	r.must("run", "--global", "auto", "--detach", "--name", "w", "--bare", fmt.Sprintf("verify,accesses=%d", 1<<40), "--mem", "64M", "--vregion", "8M", "--excache", "8M")
	r.eventually("w has its memory", func() bool { return len(list[[]vregion](r, "vregion", "ls", "w")) == 8 })
	if n := r.owners()[id]; n != 0 {
		t.Errorf("memory-1 has %d vRegions after the drain", n)
	}
	for _, kind := range []string{"member.draining", "member.drained"} {
		if !r.happened(kind, "memory-1", "") {
			t.Errorf("no event %s", kind)
		}
	}
	if !r.happened("vregion.moved", "v", "from memory-1 to memory-") {
		t.Error("no event says that a vRegion has moved")
	}
	r.signal(r.process("memory-1").PID, unix.SIGTERM)
	r.eventually("memory-1 has left", func() bool { return r.happened("member.left", "memory-1", "") })
	r.must("stop", "w")
	r.must("rm", "w")
	v.verified(6)
	r.empty()
}

// What can't be drained is refused with what to do.
func TestDrainRefused(t *testing.T) {
	r := up(t, "--memories", "2", "--memory", "64M")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"memory-7"}, "`splitvm monitor ls`"},
		{[]string{"processor-1"}, "only a memory or a storage monitor"},
		{[]string{}, "give the name or the id"},
		{[]string{"--cancel", "memory-1"}, "not being drained"},
	} {
		if out, err := r.try(append([]string{"monitor", "drain"}, c.args...)...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("drain %v: %v, %q, want %q", c.args, err, out, c.want)
		}
	}
	r.must("run", "--global", "auto", "--detach", "--name", "v", "--bare", fmt.Sprintf("verify,accesses=%d", 1<<40), "--mem", "96M", "--vregion", "8M", "--excache", "4M")
	r.eventually("v has its memory", func() bool { return len(list[[]vregion](r, "vregion", "ls", "v")) == 12 })
	before := r.owners()
	if out, err := r.try("monitor", "drain", "memory-1"); err == nil || !strings.Contains(out, "no room for") || !strings.Contains(out, "splitvm monitor memory --global") {
		t.Errorf("without room: %v, %q", err, out)
	}
	if now := r.owners(); !maps.Equal(now, before) {
		t.Errorf("owners after a drain that was refused: %v, before %v", now, before)
	}
	r.must("stop", "v")
	r.must("rm", "v")
	r.empty()
	r.must("monitor", "drain", "memory-1")
	if out, err := r.try("monitor", "drain", "memory-2"); err == nil || !strings.Contains(out, "the only memory monitor") {
		t.Errorf("the only one: %v, %q", err, out)
	}
	r.must("monitor", "drain", "--cancel", "memory-1")
	r.must(small("w", 1000)...)
	r.empty()
}
