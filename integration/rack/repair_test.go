package rack

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// repaired is a rack of three storage monitors with a volume of two replicas.
type repaired struct {
	*rack
	image []byte
}

func replicated(t *testing.T, names ...string) *repaired {
	return replicatedWith(t, []string{"--storages", "3", "--lease", "6s"}, names...)
}

func replicatedWith(t *testing.T, flags []string, names ...string) *repaired {
	r := &repaired{up(t, flags...), make([]byte, 12<<20)}
	rand.NewChaCha8([32]byte{2}).Read(r.image)
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, r.image, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		r.must("volume", "import", "--replicas", "2", name, file)
	}
	return r
}

// lose kills a storage monitor and waits until the rack knows.
func (r *repaired) lose(name string) {
	r.t.Helper()
	r.kill(name)
	r.eventually(name+" is away", func() bool { return r.happened("member.lost", name, "") })
}

// A volume that nobody uses, and a snapshot that is read, have two replicas again after one
// of their monitors was removed, the same as before.
func TestRepairUnused(t *testing.T) {
	r := replicated(t, "db")
	r.must("volume", "snapshot", "db", "monday")
	r.must(r.withVolume("reader", "monday")...)
	lost, kept := r.volume("db").Monitors[0].Name, r.volume("db").Monitors[1].Name
	if out, err := r.try("monitor", "rm", lost); err == nil || !strings.Contains(out, "splitvm monitor drain "+lost) {
		t.Errorf("removed while it is up: %v, %s", err, out)
	}
	r.lose(lost)
	if out := r.must("monitor", "ls"); !strings.Contains(out, "away") {
		t.Errorf("no monitor is shown as away:\n%s", out)
	}
	r.must("monitor", "rm", lost)
	now := r.volume("db").Monitors
	if len(now) != 2 || now[0].Name == lost || now[1].Name == lost || now[0].Name == now[1].Name {
		t.Fatalf("db is at %+v, and was at %s and %s", now, lost, kept)
	}
	if !r.happened("volume.repair", "db", "1 of 2 replicas are left") || !r.happened("volume.repaired", "db", "2 of 2 replicas") {
		t.Error("no events tell of the repair")
	}
	for _, name := range []string{"db", "monday"} {
		r.must("volume", "scrub", name)
		for _, m := range r.volume(name).Monitors {
			if m.Name == lost || !bytes.Equal(r.content(name, m.Data[0]), r.image) {
				t.Errorf("%s at %s is not what was written, or was lost", name, m.Name)
			}
		}
	}
	r.lose(kept)
	for _, m := range now {
		if m.Name != kept && !bytes.Equal(r.content("db", m.Data[0]), r.image) {
			t.Errorf("db at %s is not what was written", m.Name)
		}
	}
	r.must("stop", "reader")
	r.must("rm", "reader")
}

// A vNode that writes a volume goes on while a lost replica is made again: its VMM brings
// the new one up to date, and then goes on with that alone.
func TestRepairUsed(t *testing.T) {
	r := replicated(t, "db")
	r.must(r.withVolume("w", "db")...)
	r.eventually("w has the volume", func() bool { return strings.Count(r.must("volume", "inspect", "db"), "in use") == 2 })
	lost, kept := r.volume("db").Monitors[0].Name, r.volume("db").Monitors[1].Name
	r.lose(lost)
	if out := r.must("volume", "ls"); !strings.Contains(out, "degraded: 1 of 2 replicas") {
		t.Errorf("not shown as degraded:\n%s", out)
	}
	r.must("monitor", "rm", lost)
	if out := r.must("volume", "inspect", "db"); !strings.Contains(out, " ok ") {
		t.Errorf("not shown as whole:\n%s", out)
	}
	now := r.volume("db").Monitors
	if len(now) != 2 || now[0].Name == lost || now[1].Name == lost || now[0].Name == now[1].Name {
		t.Fatalf("db is at %+v, and was at %s and %s", now, lost, kept)
	}
	r.lose(kept)
	if w := r.vnode("w"); w.State != "VNODE_STATE_RUNNING" {
		t.Errorf("w: %+v", w)
	}
	r.must("stop", "w") // which flushes the volume, and fails if it can't
	r.must("rm", "w")
	for _, m := range now {
		if m.Name != kept && !bytes.Equal(r.content("db", m.Data[0]), r.image) {
			t.Errorf("db at %s is not what was written", m.Name)
		}
	}
	r.must("monitor", "rm", "--detach", kept) // with nowhere to go: it is used all the same
	r.eventually("db goes on with one replica", func() bool { return r.happened("volume.degraded", "db", "1 of 2 replicas") })
	r.must(r.withVolume("x", "db")...)
	r.eventually("x has the volume", func() bool { return strings.Contains(r.must("volume", "inspect", "db"), "in use") })
	r.must("stop", "x")
	r.must("rm", "x")
	r.must("volume", "rm", "db")
}

// A volume whose only replica was at a removed monitor is shown as lost until it is given
// up by force, and is there again when the removal is taken back. Until then the monitor
// is not, and what was made elsewhere meanwhile is deleted when it is.
func TestRepairLost(t *testing.T) {
	r := replicated(t)
	r.must("volume", "create", "--replicas", "2", "v", "8M")
	lost, only := r.volume("v").Monitors[0].Name, "a"
	for r.must("volume", "create", only, "8M"); r.volume(only).Monitors[0].Name != lost; r.must("volume", "create", only, "8M") {
		only += "a"
		if len(only) > 6 {
			t.Fatalf("no volume is placed at %s", lost)
		}
	}
	r.lose(lost)
	if out := r.must("monitor", "rm", lost); !strings.Contains(out, "LOST") || !strings.Contains(out, only) {
		t.Errorf("rm does not say what is lost:\n%s", out)
	}
	if !r.happened("volume.lost", only, lost) || !strings.Contains(r.must("volume", "ls"), lost+" (lost)") {
		t.Errorf("%s is not shown as lost:\n%s", only, r.must("volume", "ls"))
	}
	if out, err := r.try("volume", "rm", only); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("given up without force: %v, %s", err, out)
	}
	if out, err := r.try(r.withVolume("w", only)...); err == nil || !strings.Contains(out, "are lost") {
		t.Errorf("used: %v, %s", err, out)
	}
	r.must("rm", "w")
	out, err := r.try("rack", "up")
	if err == nil || !strings.Contains(out, "was removed from the rack") {
		t.Errorf("it is back: %v, %s", err, out)
	}
	t.Log(out)
	r.must("monitor", "rm", "--cancel", lost)
	r.must("rack", "up")
	r.eventually("what was made elsewhere is deleted", func() bool {
		left := list[[]rackVolume](r.rack, "volume", "ls", "--storage-monitor", r.address(lost))
		return len(left) == 1 && left[0].Name == only
	})
	if v := r.volume(only); v.Monitors[0].Away {
		t.Errorf("%s: %+v", only, v)
	}
	for name := only; name != ""; name = name[1:] {
		r.must("volume", "rm", name)
	}
	r.must("volume", "rm", "v")
}

// Of a volume whose writer was killed the lost replica may have had what no other has: it
// is repaired from those when the operator accepts that.
func TestRepairUnclean(t *testing.T) {
	r := replicated(t, "db")
	r.must(r.withVolume("w", "db")...)
	r.eventually("w has the volume", func() bool { return strings.Count(r.must("volume", "inspect", "db"), "in use") == 2 })
	r.signal(r.vnode("w").PID, unix.SIGKILL)
	r.eventually("w has failed", func() bool { return r.vnode("w").State == "VNODE_STATE_FAILED" })
	r.must("rm", "w")
	lost := r.volume("db").Monitors[0].Name
	r.lose(lost)
	r.must("monitor", "rm", "--detach", lost)
	r.eventually("the repair waits", func() bool {
		return strings.Contains(r.must("monitor", "rm", "--detach", lost), "--accept-loss")
	})
	if r.happened("volume.degraded", "db", "") {
		t.Error("it goes on without the lost replica")
	}
	if out, err := r.try(r.withVolume("x", "db")...); err == nil || !strings.Contains(out, "--accept-loss") {
		t.Errorf("started without it: %v, %s", err, out)
	}
	r.must("rm", "x")
	r.must("monitor", "rm", "--accept-loss", lost)
	now := r.volume("db").Monitors
	if len(now) != 2 || now[0].Name == lost || now[1].Name == lost {
		t.Fatalf("db is at %+v, and was at %s", now, lost)
	}
	for _, m := range now {
		if !bytes.Equal(r.content("db", m.Data[0]), r.image) {
			t.Errorf("db at %s is not what was written", m.Name)
		}
	}
}

// A storage monitor that stays away is replaced without an operator; when it is back it is a
// member like others, and what it had is deleted.
func TestRepairOverdue(t *testing.T) {
	r := replicatedWith(t, []string{"--storages", "3", "--lease", "3s", "--repair-after", "2s"}, "db")
	lost := r.volume("db").Monitors[0].Name
	r.lose(lost)
	r.eventually("db is repaired", func() bool { return r.happened("volume.repaired", "db", "2 of 2 replicas") })
	if !r.happened("member.overdue", lost, "1 volumes") {
		t.Error("no event says that it is overdue")
	}
	now := r.volume("db").Monitors
	for _, m := range now {
		if m.Name == lost || !bytes.Equal(r.content("db", m.Data[0]), r.image) {
			t.Errorf("db at %s is not what was written, or was at it before", m.Name)
		}
	}
	r.must("rack", "up")
	r.eventually("what it had is deleted", func() bool {
		return len(list[[]rackVolume](r.rack, "volume", "ls", "--storage-monitor", r.address(lost))) == 0
	})
	r.must("monitor", "drain", now[0].Name) // to the one that is back
	if v := r.volume("db").Monitors; v[0].Name != lost && v[1].Name != lost {
		t.Errorf("db is at %+v, want one at %s", v, lost)
	}
	r.must("volume", "rm", "db")
}

// Of two storage monitors one has lost its disk, and comes back empty, as another member at
// the same address: it takes its own place, with the vNode running.
func TestRepairLostDisk(t *testing.T) {
	r := replicatedWith(t, []string{"--storages", "2", "--lease", "6s"}, "db")
	r.must(r.withVolume("w", "db")...)
	r.eventually("w has the volume", func() bool { return strings.Count(r.must("volume", "inspect", "db"), "in use") == 2 })
	old := r.idOf("storage-1")
	r.lose("storage-1")
	if err := os.RemoveAll(filepath.Join(r.dir, "rack", "storage-1")); err != nil {
		t.Fatal(err)
	}
	r.must("rack", "up")
	r.must("monitor", "rm", "storage-1")
	if now := r.idOf("storage-1"); now == old {
		t.Fatalf("it is member %s again", now)
	}
	if out := r.must("volume", "ls"); !strings.Contains(out, " ok ") {
		t.Errorf("not whole:\n%s", out)
	}
	r.lose("storage-2")
	r.must("stop", "w")
	r.must("rm", "w")
	if !bytes.Equal(r.content("db", r.address("storage-1")), r.image) {
		t.Error("db is not what was written")
	}
	r.must("monitor", "rm", "--detach", "storage-2")
	r.must("volume", "rm", "db")
}

// What a repair has begun goes on after the death of whoever takes part in it: the target,
// the GSM, the vNode that writes the volume.
func TestRepairKilled(t *testing.T) {
	r := replicatedWith(t, []string{"--storages", "2", "--lease", "6s"}, "db")
	r.must(r.withVolume("w", "db")...)
	r.eventually("w has the volume", func() bool { return strings.Count(r.must("volume", "inspect", "db"), "in use") == 2 })
	spare := func(name string) *os.Process { return r.monitor(name, "storage", "--data", t.TempDir()) }
	first := spare("first")
	r.lose("storage-1")
	r.signal(first.Pid, unix.SIGSTOP) // it has its lease until the repair has begun
	r.must("monitor", "rm", "--detach", "storage-1")
	r.eventually("a repair has begun", func() bool { return r.happened("volume.repair", "db", "at first") })
	r.signal(first.Pid, unix.SIGKILL)
	r.eventually("the target is given up", func() bool { return r.happened("volume.not-moved", "db", "to first") })
	w := r.vnode("w")
	r.signal(w.PID, unix.SIGSTOP) // which fills the replica that is made
	second := spare("second")
	r.eventually("a replica is made at the second", func() bool { return r.volume("db").TargetMade })
	r.signal(second.Pid, unix.SIGSTOP)
	r.signal(w.PID, unix.SIGCONT)
	r.kill("global-1")
	out, err := r.try("rack", "up") // also the one that was removed, which ends now or when there is a leader
	t.Log(out, err)
	r.signal(w.PID, unix.SIGKILL)
	r.eventually("w has failed", func() bool { return r.vnode("w").State == "VNODE_STATE_FAILED" })
	r.signal(second.Pid, unix.SIGCONT)
	r.must("monitor", "rm", "--accept-loss", "storage-1")
	if out := r.must("monitor", "ls"); strings.Contains(out, "storage-1") {
		t.Errorf("the removed one is back, or has something still:\n%s", out)
	}
	for _, m := range r.volume("db").Monitors {
		if m.Name == "storage-1" || !bytes.Equal(r.content("db", m.Data[0]), r.image) {
			t.Errorf("db at %s is not what was written", m.Name)
		}
	}
	r.must("rm", "w")
	r.must(r.withVolume("x", "db")...)
	r.eventually("x has the volume", func() bool { return strings.Count(r.must("volume", "inspect", "db"), "in use") == 2 })
	r.must("stop", "x")
	r.must("rm", "x")
	r.must("volume", "rm", "db")
}
