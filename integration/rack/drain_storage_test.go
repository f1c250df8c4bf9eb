package rack

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
)

// stored is a rack of one storage monitor with a volume that a vNode writes and one
// that nobody uses, both of random bytes.
type stored struct {
	*rack
	image []byte
}

func storing(t *testing.T, flags ...string) *stored {
	r := &stored{up(t, flags...), make([]byte, 12<<20)}
	rand.NewChaCha8([32]byte{1}).Read(r.image)
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, r.image, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"db", "idle"} {
		r.must("volume", "import", name, file)
	}
	r.must(r.withVolume("w", "db")...)
	r.eventually("w has the volume", func() bool { return strings.Contains(r.must("volume", "inspect", "db"), "in use") })
	return r
}

// spare starts a storage monitor that joins.
func (r *stored) spare(name string) *os.Process {
	return r.monitor(name, "storage", "--data", r.t.TempDir())
}

// whole compares both volumes with what they were made of, at the one monitor where
// they are to be.
func (r *stored) whole(at string) {
	r.t.Helper()
	for _, name := range []string{"db", "idle"} {
		v := r.volume(name)
		if len(v.Monitors) != 1 || v.Monitors[0].Name != at {
			r.t.Fatalf("%s is at %+v, want %s", name, v.Monitors, at)
		}
		if !bytes.Equal(r.content(name, v.Monitors[0].Data[0]), r.image) {
			r.t.Errorf("%s at %s is not what was written", name, at)
		}
	}
}

func (r *rack) content(name, address string) []byte {
	r.t.Helper()
	v, err := blockclient.Open(r.t.Context(), blockclient.Config{Monitors: []string{address}, Name: name, ReadOnly: true})
	if err != nil {
		r.t.Fatal(err)
	}
	defer v.Close()
	got := make([]byte, v.Size())
	done := make(chan error)
	for off := 0; off < len(got); off += remote.MaxBlockIO {
		p := got[off:min(len(got), off+remote.MaxBlockIO)]
		v.Submit(&blockclient.Request{Op: blockwire.Read, Offset: uint64(off), Length: uint64(len(p)), Memory: [][]byte{p},
			Done: func(q *blockclient.Request) { done <- q.Err }})
		if err := <-done; err != nil {
			r.t.Fatal(err)
		}
	}
	return got
}

// finish drains storage-1 to its end, stops it, and removes everything from where it
// is then.
func (r *stored) finish(at string) {
	r.t.Helper()
	if d := list[drained](r.rack, "monitor", "drain", "storage-1"); d.Member.State != "MEMBER_STATE_DRAINED" || d.Volumes != 0 {
		r.t.Errorf("drained: %+v", d)
	}
	if left := list[[]rackVolume](r.rack, "volume", "ls", "--storage-monitor", r.address("storage-1")); len(left) != 0 {
		r.t.Errorf("left at storage-1: %+v", left)
	}
	r.whole(at)
	r.kill("storage-1")
	r.must("volume", "create", "new", "1M")
	if v := r.volume("new"); v.Monitors[0].Name == "storage-1" {
		r.t.Error("a new volume was placed at storage-1")
	}
	if w := r.vnode("w"); w.State != "VNODE_STATE_RUNNING" {
		r.t.Errorf("w: %+v", w)
	}
	r.must("stop", "w") // which flushes the volume, and fails if it can't
	r.must("rm", "w")
	r.must(r.withVolume("x", "db")...)
	r.eventually("x has the volume", func() bool { return strings.Contains(r.must("volume", "inspect", "db"), "in use") })
	r.must("stop", "x")
	r.must("rm", "x")
	r.whole(at)
	for _, name := range []string{"db", "idle", "new"} {
		r.must("volume", "rm", name)
	}
	r.empty()
}

// A storage monitor is drained while a vNode has one of its volumes open: every byte
// of it is elsewhere, none is left, the vNode goes on without the monitor.
func TestDrainStorage(t *testing.T) {
	r := storing(t)
	if out, err := r.try("monitor", "drain", "storage-1"); err == nil || !strings.Contains(out, "splitvm monitor storage --global") {
		t.Errorf("with nowhere to go: %v, %s", err, out)
	}
	r.spare("spare")
	r.must("volume", "create", "--replicas", "2", "two", "8M")
	if out, err := r.try("monitor", "drain", "spare"); err == nil || !strings.Contains(out, "no room for 1 of the 1 volumes") {
		t.Errorf("with nowhere to go for a second replica: %v, %s", err, out)
	}
	r.must("volume", "rm", "two")
	r.finish("spare")
	for _, name := range []string{"db", "idle"} {
		if !r.happened("volume.moved", name, "from storage-1 to spare") {
			t.Errorf("no event says that %s has moved", name)
		}
	}
}

// What a drain has begun goes on after the death of whoever takes part in it: the
// target, which can't take anything and is given up, the GSM, the processor monitor,
// the source.
func TestDrainStorageKilled(t *testing.T) {
	r := storing(t, "--lease", "6s")
	lost := r.spare("lost")
	r.signal(lost.Pid, unix.SIGSTOP)
	r.must("monitor", "drain", "--detach", "storage-1")
	r.signal(lost.Pid, unix.SIGKILL)
	r.eventually("the target is given up", func() bool { return r.happened("volume.not-moved", "db", "to lost") })
	r.eventually("the target is lost", func() bool { return r.happened("member.lost", "lost", "") })
	r.eventually("the drain says what it waits for", func() bool {
		return strings.Contains(r.status("storage-1").Waiting, "splitvm monitor storage --global")
	})
	spare := r.spare("spare")
	r.signal(spare.Pid, unix.SIGSTOP)
	for _, name := range []string{"global-1", "processor-1", "storage-1"} {
		r.kill(name)
		r.must("rack", "up")
	}
	r.signal(spare.Pid, unix.SIGCONT)
	r.finish("spare")
}

// A volume that is only read waits for its readers; a drain that is cancelled
// meanwhile leaves it where it is.
func TestDrainStorageCancelled(t *testing.T) {
	r := storing(t)
	r.must("stop", "w")
	r.must("rm", "w")
	r.must(r.withVolume("reader", "db,ro")...)
	r.spare("spare")
	r.must("monitor", "drain", "--detach", "storage-1")
	r.eventually("the one that nobody uses has moved", func() bool { return r.happened("volume.moved", "idle", "") })
	r.eventually("the drain waits for the reader", func() bool {
		return strings.Contains(r.status("storage-1").Waiting, "vNode reader reads volume db")
	})
	r.must("monitor", "drain", "--cancel", "storage-1")
	r.must("stop", "reader")
	r.must("rm", "reader")
	if v := r.volume("db"); len(v.Monitors) != 1 || v.Monitors[0].Name != "storage-1" {
		t.Errorf("db is at %+v", v.Monitors)
	}
	r.must(r.withVolume("w", "db")...)
	r.finish("spare")
}

// A drain that is cancelled after replicas were made at the target, which does not answer
// any more, ends the moves. What is not done by then stays, and nothing is left at the
// target of it when that answers again.
func TestDrainStorageCancelledLate(t *testing.T) {
	r := storing(t)
	spare := r.spare("spare")
	w := r.vnode("w")
	r.signal(w.PID, unix.SIGSTOP)
	r.must("monitor", "drain", "--detach", "storage-1")
	r.eventually("a target for db is made", func() bool { return r.volume("db").TargetMade })
	r.signal(spare.Pid, unix.SIGSTOP)
	r.signal(w.PID, unix.SIGCONT)
	r.must("monitor", "drain", "--cancel", "storage-1")
	r.eventually("nothing moves", func() bool { return r.volume("db").MovesTo == "" && r.volume("idle").MovesTo == "" })
	r.signal(spare.Pid, unix.SIGCONT)
	r.eventually("nothing is to be deleted", func() bool { return len(r.volume("db").Leaving)+len(r.volume("idle").Leaving) == 0 })
	if v := r.volume("db"); len(v.Monitors) != 1 || v.Monitors[0].Name != "storage-1" || !r.happened("volume.not-moved", "db", "to spare") {
		t.Errorf("db is at %+v", v.Monitors)
	}
	for _, x := range list[[]rackVolume](r.rack, "volume", "ls", "--storage-monitor", r.dataOf("spare")) {
		if x.Name == "db" {
			t.Error("a replica of db is left at the target")
		}
	}
	r.finish("spare")
}

// dataOf is the address of a member's data.
func (r *rack) dataOf(name string) string {
	r.t.Helper()
	type addressed struct {
		Name string
		Data []string
	}
	for _, m := range list[[]addressed](r, "monitor", "ls") {
		if m.Name == name && len(m.Data) > 0 {
			return m.Data[0]
		}
	}
	r.t.Fatalf("no member %s", name)
	return ""
}

// Ctrl-C ends the command and not the drain of volumes, which the same command watches
// again.
func TestDrainStorageInterrupted(t *testing.T) {
	r := storing(t)
	spare := r.spare("spare")
	r.signal(spare.Pid, unix.SIGSTOP)
	cmd, out := r.watching("volumes left", "monitor", "drain", "storage-1")
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); status(err) != 1 || !strings.Contains(out(), "the drain of storage-1 goes on; `splitvm monitor drain storage-1` watches it") {
		t.Errorf("the command: %v, %q", err, out())
	}
	r.signal(spare.Pid, unix.SIGCONT)
	r.finish("spare")
}

// Of two replicas one moves: the volume has two afterwards, which are the same, and
// goes on without the monitor that was drained. So does a snapshot, when nobody reads it
// any more.
func TestDrainStorageReplicated(t *testing.T) {
	r := up(t, "--storages", "3")
	r.must("volume", "create", "--replicas", "2", "--format", "ext4", "db", "16M")
	r.must(r.withVolume("w", "db")...)
	r.eventually("w has the volume", func() bool { return strings.Count(r.must("volume", "inspect", "db"), "in use") == 2 })
	old := r.volume("db").Monitors[0].Name
	r.must("monitor", "drain", old)
	r.kill(old)
	now := r.volume("db").Monitors
	if len(now) != 2 || now[0].Name == old || now[1].Name == old || now[0].Name == now[1].Name {
		t.Fatalf("db is at %+v, and was at %s", now, old)
	}
	r.must("stop", "w")
	r.must("rm", "w")
	r.must("volume", "snapshot", "db", "db-1") // of replicas that are the same
	r.must("volume", "scrub", "db")
	r.must("rack", "up") // starts the one that was killed
	r.must("monitor", "drain", "--cancel", old)
	r.must(r.withVolume("reader", "db-1")...)
	r.must("monitor", "drain", "--detach", now[0].Name)
	r.eventually("the drain waits for who reads the snapshot", func() bool {
		s := r.status(now[0].Name)
		return s.Volumes == 1 && strings.Contains(s.Waiting, "vNode reader reads volume db-1")
	})
	r.must("stop", "reader")
	r.must("rm", "reader")
	if d := list[drained](r, "monitor", "drain", now[0].Name); d.Member.State != "MEMBER_STATE_DRAINED" {
		t.Errorf("drained: %+v", d)
	}
	was := r.content("db-1", now[1].Data[0])
	for _, m := range r.volume("db-1").Monitors {
		if m.Name == now[0].Name || !bytes.Equal(r.content("db-1", m.Data[0]), was) {
			t.Errorf("db-1 at %s is not what it was, or is where it was", m.Name)
		}
	}
	if out, err := r.try("volume", "resize", "db-1", "8M"); err == nil {
		t.Errorf("a snapshot was changed: %s", out)
	}
	r.must("volume", "scrub", "db-1")
	r.must("volume", "rm", "db-1")
	r.must("volume", "rm", "db")
	r.empty()
}

// Of two volumes at one storage monitor a rebalance moves one to a monitor that has
// joined, with its vNode running, every byte of it; what is even then stays. A volume
// and its clone stay together.
func TestRebalanceStorage(t *testing.T) {
	r := storing(t)
	if p := list[plan](r.rack, "rebalance"); len(p.Steps) != 0 {
		t.Errorf("with one storage monitor: %+v", p)
	}
	r.spare("spare")
	r.must("volume", "clone", "idle", "copy")
	p := list[plan](r.rack, "rebalance", "--dry-run")
	if len(p.Steps) != 1 || p.Steps[0].Volume != "db" || p.Steps[0].To != r.idOf("spare") {
		t.Errorf("planned %+v, want that db moves to spare", p)
	}
	if p := list[plan](r.rack, "rebalance", "--only", "memory"); len(p.Steps) != 0 {
		t.Errorf("memory only: %+v", p)
	}
	if p := list[plan](r.rack, "rebalance", "--only", "storage"); len(p.Steps) != 1 {
		t.Errorf("moved %+v, want one", p)
	}
	v := r.volume("db")
	if len(v.Monitors) != 1 || v.Monitors[0].Name != "spare" || !bytes.Equal(r.content("db", v.Monitors[0].Data[0]), r.image) {
		t.Errorf("db is at %+v, or is not what was written", v.Monitors)
	}
	if w := r.vnode("w"); w.State != "VNODE_STATE_RUNNING" || !r.happened("rack.rebalance", "", "1 vRegions and volumes") {
		t.Errorf("w: %+v, or no event says so", w)
	}
	if p := list[plan](r.rack, "rebalance"); len(p.Steps) != 0 {
		t.Errorf("once more: %+v", p)
	}
	r.must("volume", "rm", "copy")
	r.finish("spare")
}
