package rack

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// verifying starts a vNode of 64 MiB that writes and checks its memory for as many
// accesses, most of it at memory monitors.
func (r *rack) verifying(name string, accesses int) {
	r.t.Helper()
	r.must("run", "--global", "auto", "--detach", "--name", name, "--bare", fmt.Sprintf("verify,writes=0.5,accesses=%d", accesses),
		"--mem", "64M", "--vregion", "8M", "--excache", "8M")
	r.eventually(name+" has most of its memory at monitors", func() bool { return sum(r.held()) > 40<<20 })
}

// verified waits for the end of a vNode that verifies, and fails the test if it
// has found anything wrong.
func (r *rack) verified(name string) {
	r.t.Helper()
	r.eventually(name+" has ended", func() bool {
		s := r.vnode(name).State
		return s != "VNODE_STATE_RUNNING" && s != "VNODE_STATE_STARTING"
	})
	if v := r.vnode(name); v.State != "VNODE_STATE_EXITED" || v.ExitStatus != 0 {
		r.t.Errorf("%s: %+v\n%s", name, v, r.must("logs", name))
	}
	r.must("rm", name)
}

// drained is what `monitor drain -o json` prints.
type drained struct {
	Member struct {
		State string `json:"state"`
	} `json:"member"`
	Left int `json:"vregions_left"`
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
	r := up(t, "--memories", "3", "--memory", "256M", "--lease", "3s")
	r.verifying("v", 200_000)
	id := r.idOf("memory-1")
	if r.owners()[id] == 0 {
		t.Fatal("memory-1 has nothing to be drained")
	}
	d := list[drained](r, "monitor", "drain", "memory-1")
	if d.Member.State != "MEMBER_STATE_DRAINED" || d.Left != 0 {
		t.Errorf("drained: %+v", d)
	}
	if v := r.vnode("v"); v.State != "VNODE_STATE_RUNNING" {
		t.Errorf("the guest did not run through the drain: %+v", v)
	}
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
	if err := unix.Kill(r.process("memory-1").PID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.eventually("memory-1 has left", func() bool { return r.happened("member.left", "memory-1", "") })
	r.must("stop", "w")
	r.must("rm", "w")
	r.verified("v")
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
		{[]string{"processor-1"}, "only a memory monitor"},
		{[]string{}, "give the name or the id"},
		{[]string{"--cancel", "memory-1"}, "not being drained"},
	} {
		if out, err := r.try(append([]string{"monitor", "drain"}, c.args...)...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("drain %v: %v, %q, want %q", c.args, err, out, c.want)
		}
	}
	r.must("run", "--global", "auto", "--detach", "--name", "v", "--bare", fmt.Sprintf("verify,accesses=%d", 1<<40), "--mem", "96M", "--vregion", "8M", "--excache", "4M")
	r.eventually("v has its memory", func() bool { return len(list[[]vregion](r, "vregion", "ls", "v")) == 12 })
	if out, err := r.try("monitor", "drain", "memory-1"); err == nil || !strings.Contains(out, "no room for") || !strings.Contains(out, "splitvm monitor memory --global") {
		t.Errorf("without room: %v, %q", err, out)
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
