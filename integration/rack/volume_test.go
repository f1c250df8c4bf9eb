package rack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/guest/bare"
)

// rackVolume is what the tests look at of a volume.
type rackVolume struct {
	Name     string `json:"name"`
	Writer   string `json:"writer"`
	Monitors []struct {
		Name string   `json:"name"`
		Data []string `json:"data"`
		Away bool     `json:"away"`
	} `json:"monitors"`
	MovesTo    string   `json:"moves_to"`
	TargetMade bool     `json:"target_made"`
	Leaving    []string `json:"leaving"`
}

func (r *rack) volume(name string) rackVolume {
	r.t.Helper()
	for _, v := range list[[]rackVolume](r, "volume", "ls") {
		if v.Name == name {
			return v
		}
	}
	r.t.Fatalf("no volume %s", name)
	return rackVolume{}
}

// kernel is one that greets and stays: its VMM is whole, with all devices.
func (r *rack) kernel() string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "kernel")
	if err := os.WriteFile(path, bare.ELF(bare.Greet), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *rack) withVolume(name, volume string) []string {
	return []string{"run", "--global", "auto", "--detach", "--name", name, "--kernel", r.kernel(),
		"--mem", "64M", "--vregion", "16M", "--excache", "16M", "--volume", volume}
}

// A volume of the rack: placed apart, with the reasons told, mounted by one vNode
// that writes, whose end gives it back; none of it is left.
func TestVolume(t *testing.T) {
	r := up(t, "--storages", "3")
	r.must("volume", "create", "--replicas", "2", "--format", "ext4", "db", "64M")
	v := r.volume("db")
	if len(v.Monitors) != 2 || v.Monitors[0].Name == v.Monitors[1].Name {
		t.Fatalf("replicas: %+v", v)
	}
	if out := r.must("volume", "inspect", "db"); !strings.Contains(out, "least-load") || strings.Count(out, "replica at") != 2 {
		t.Errorf("inspect does not say why there:\n%s", out)
	}
	if out, err := r.try("volume", "create", "db", "64M"); err == nil {
		t.Errorf("made twice: %s", out)
	}
	r.must("volume", "snapshot", "db", "db-1")
	r.must(r.withVolume("w", "db")...)
	r.eventually("w runs", func() bool { return r.vnode("w").State == "VNODE_STATE_RUNNING" })
	r.eventually("its VMM has claimed both replicas", func() bool {
		return strings.Count(r.must("volume", "inspect", "db"), "epoch 2, in use") == 2
	})
	if out := r.must("inspect", "w"); !strings.Contains(out, "volume db") || !strings.Contains(out, v.Monitors[0].Name) {
		t.Errorf("inspect does not show the volume:\n%s", out)
	}
	if out, err := r.try(r.withVolume("x", "db")...); err == nil || !strings.Contains(out, "vNode w writes volume db") {
		t.Errorf("a second writer: %v, %s", err, out)
	}
	r.must("rm", "x")
	r.must(r.withVolume("r", "db-1")...)
	for _, args := range [][]string{{"rm", "db"}, {"resize", "db", "32M"}, {"snapshot", "db", "db-2"}} {
		if out, err := r.try(append([]string{"volume"}, args...)...); err == nil {
			t.Errorf("volume %v of a volume in use: %s", args, out)
		}
	}
	r.must("stop", "w", "r")
	if v := r.volume("db"); v.Writer != "" {
		t.Errorf("after its end: %+v", v)
	}
	r.must("volume", "resize", "db", "128M")
	r.must("volume", "scrub", "db")
	r.must("rm", "w", "r")
	r.must("volume", "rm", "db-1")
	r.must("volume", "rm", "db")
	for i := range 3 {
		at := fmt.Sprintf("storage-%d", i+1)
		if left := list[[]rackVolume](r, "volume", "ls", "--storage-monitor", r.address(at)); len(left) != 0 {
			t.Errorf("left at %s: %+v", at, left)
		}
	}
	r.empty()
}

// address is where a storage monitor listens.
func (r *rack) address(name string) string {
	r.t.Helper()
	args := r.process(name).Args
	for i, a := range args {
		if a == "--listen" {
			return args[i+1]
		}
	}
	r.t.Fatalf("no address of %s", name)
	return ""
}

// A vNode that can't open its volume has never run: the command line that started it
// and left says so, and so does the next that starts it.
func TestDetachTellsOfAFailedStart(t *testing.T) {
	r := up(t, "--lease", "60s")
	r.must("volume", "create", "db", "64M")
	r.kill("storage-1")
	for _, args := range [][]string{r.withVolume("w", "db"), {"start", "w"}} {
		out, err := r.try(args...)
		if status(err) != 125 || !strings.Contains(out, "connection refused") || !strings.Contains(out, "splitvm logs w") {
			t.Errorf("%s: %v, %s", args[0], err, out)
		}
		if v := r.vnode("w"); v.State != "VNODE_STATE_FAILED" || r.happened("vnode.running", "w", "") {
			t.Errorf("afterwards: %+v", v)
		}
	}
	r.must("rm", "w")
	r.must("rack", "up")
	r.must(r.withVolume("x", "db")...)
	if v := r.vnode("x"); v.State != "VNODE_STATE_RUNNING" {
		t.Errorf("started: %+v", v)
	}
	r.must("stop", "x")
	r.must("rm", "x")
	r.must("volume", "rm", "db")
	r.empty()
}

// A storage monitor that was killed comes back as the member that it was, with its
// volumes; a vNode that was killed gives its volume back.
func TestKillStorage(t *testing.T) {
	r := up(t, "--lease", "6s")
	r.must("volume", "create", "db", "64M")
	r.must(r.withVolume("w", "db")...)
	r.eventually("w has the volume", func() bool { return strings.Contains(r.must("volume", "inspect", "db"), "in use") })
	r.kill("storage-1")
	r.eventually("the monitor is lost", func() bool { return r.volume("db").Monitors[0].Away })
	r.must("rack", "up")
	if v := r.volume("db"); v.Monitors[0].Away || v.Monitors[0].Name != "storage-1" {
		t.Errorf("afterwards: %+v", v)
	}
	r.signal(r.vnode("w").PID, unix.SIGKILL)
	r.eventually("the vNode has failed", func() bool { return r.vnode("w").State == "VNODE_STATE_FAILED" })
	r.must("rm", "w")
	r.must(r.withVolume("x", "db")...)
	r.eventually("x runs", func() bool { return r.vnode("x").State == "VNODE_STATE_RUNNING" })
	r.eventually("x has the volume", func() bool { return strings.Contains(r.must("volume", "inspect", "db"), "in use") })
	r.must("stop", "x")
	r.must("rm", "x")
	r.must("volume", "rm", "db")
	r.empty()
}
