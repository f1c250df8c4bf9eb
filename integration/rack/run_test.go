package rack

import (
	"strings"
	"testing"
)

// A vNode's memory is at both memory monitors, its exit status is that of `run`,
// and nothing is left.
func TestRun(t *testing.T) {
	r := up(t)
	out := r.must(small("one", 50_000)...)
	if !strings.Contains(out, "50000 accesses") {
		t.Errorf("printed %q", out)
	}
	out, err := r.try("run", "--global", "auto", "--bare", "exit,status=7", "--mem", "32M")
	if status(err) != 7 {
		t.Errorf("exit status %v, want 7: %s", err, out)
	}
	r.must(append(small("long", 1<<40), "--detach")...)
	owners := map[string]int{}
	r.eventually("it has its memory", func() bool { return len(list[[]vregion](r, "vregion", "ls", "long")) == 4 })
	for _, x := range list[[]vregion](r, "vregion", "ls", "long") {
		owners[x.Owners[0]]++
	}
	if len(owners) != 2 {
		t.Errorf("owners %v, want two with two each", owners)
	}
	r.eventually("its memory monitors tell what they hold of it", func() bool {
		for _, x := range list[[]vregion](r, "vregion", "ls", "long") {
			if x.Held == "" {
				return false
			}
		}
		return true
	})
	if out := r.must("inspect", "long"); !strings.Contains(out, "least-load") || strings.Count(out, "MiB at memory-") != 4 {
		t.Errorf("inspect does not say where and why:\n%s", out)
	}
	if out, err := r.try("rm", "long"); err == nil {
		t.Errorf("a running vNode was removed: %s", out)
	}
	r.must("stop", "long")
	if v := r.vnode("long"); v.State != "VNODE_STATE_EXITED" || v.ExitStatus != 143 {
		t.Errorf("stopped: %+v", v)
	}
	r.must("rm", "long")
	r.empty()
}
