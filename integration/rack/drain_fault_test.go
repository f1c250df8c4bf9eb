package rack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// joined starts a memory monitor that joins the rack, as an administrator does on
// another host.
func (r *rack) joined(name, mem string) *os.Process {
	r.t.Helper()
	return r.monitor(name, "memory", "--mem", mem)
}

// monitor is joined for one of any role.
func (r *rack) monitor(name, role string, flags ...string) *os.Process {
	r.t.Helper()
	global := list[struct{ Global string }](r, "rack", "status").Global
	cmd := exec.Command(program, append([]string{"monitor", role, "--global", global, "--name", name, "--listen", "127.0.0.1:0"}, flags...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGCONT)
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("%s:\n%s", name, log.Bytes())
		}
	})
	r.eventually(name+" has joined", func() bool { return r.happened("member.joined", name, "") })
	return cmd.Process
}

// signal sends a signal to a process of the rack. One that has ended has no ID any
// more, and kill(2) takes 0 for all processes of the test.
func (r *rack) signal(pid int, s unix.Signal) {
	r.t.Helper()
	if pid <= 0 {
		r.t.Fatalf("signal %v for process %d", s, pid)
	}
	if err := unix.Kill(pid, s); err != nil {
		r.t.Fatal(err)
	}
}

// stuck has a drain of memory-1 begin that can't go on: the only monitor to which
// its vRegions may move has joined and is stopped. The drain is in the middle of
// a move until it goes on, or is lost.
func stuck(t *testing.T, flags ...string) (v *verifier, target *os.Process) {
	t.Helper()
	r := up(t, append([]string{"--memories", "1", "--memory", "256M"}, flags...)...)
	v = r.verifying("v", 32, inOrder)
	target = r.joined("spare", "256M")
	r.signal(target.Pid, unix.SIGSTOP)
	r.must("monitor", "drain", "--detach", "memory-1")
	r.eventually("a move is under way", func() bool { return len(r.status("memory-1").Moving) > 0 })
	return v, target
}

// status is how far a drain has got.
func (r *rack) status(name string) drained {
	r.t.Helper()
	return list[drained](r, "monitor", "drain", "--detach", name)
}

// watch runs a command that shows how vRegions move, and returns it when it does,
// with what it has printed so far.
func (r *rack) watch(args ...string) (cmd *exec.Cmd, out func() string) {
	r.t.Helper()
	return r.watching("vRegions left", args...)
}

// watching is watch for a command that says something else when it has begun.
func (r *rack) watching(text string, args ...string) (cmd *exec.Cmd, out func() string) {
	r.t.Helper()
	f, err := os.Create(filepath.Join(r.t.TempDir(), "out"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	out = func() string {
		text, _ := os.ReadFile(f.Name())
		return string(text)
	}
	cmd = r.command(args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.eventually("it watches", func() bool { return strings.Contains(out(), text) })
	return cmd, out
}

// finish drains memory-1 to its end under the guest, which goes on and finds every
// word as it was.
func (v *verifier) finish() {
	r := v.r
	r.t.Helper()
	if d := list[drained](r, "monitor", "drain", "memory-1"); d.Member.State != "MEMBER_STATE_DRAINED" || d.Left != 0 {
		r.t.Errorf("drained: %+v", d)
	}
	v.verified(6)
	r.empty()
}

// A target that dies in the middle of a move costs the guest nothing; another one
// that joins gets the vRegions.
func TestDrainTargetKilled(t *testing.T) {
	v, target := stuck(t, "--lease", "6s")
	r := v.r
	r.signal(target.Pid, unix.SIGKILL)
	r.eventually("the move has failed", func() bool { return r.happened("vregion.not-moved", "v", "to spare") })
	r.eventually("the target is lost", func() bool { return r.happened("member.lost", "spare", "") })
	r.eventually("the drain says what it waits for", func() bool {
		return strings.Contains(r.status("memory-1").Waiting, "splitvm monitor memory --global")
	})
	v.runs()
	r.joined("other", "256M")
	v.finish()
}

// A target that was lost in the middle of a move, and comes back, either has what
// it was given or nothing: the rack and the VMM agree on who the owner is.
func TestDrainTargetReturns(t *testing.T) {
	v, target := stuck(t, "--lease", "6s")
	r := v.r
	r.eventually("the target is lost", func() bool { return r.happened("member.lost", "spare", "") })
	r.signal(target.Pid, unix.SIGCONT)
	v.finish()
}

// The death of a monitor that is being drained ends the vNodes that had memory
// there, and the command, with the reason; what was copied is freed.
func TestDrainSourceKilled(t *testing.T) {
	v, target := stuck(t, "--lease", "6s")
	r := v.r
	watch, out := r.watch("monitor", "drain", "memory-1")
	r.kill("memory-1")
	r.signal(target.Pid, unix.SIGCONT)
	if err := watch.Wait(); status(err) == 0 || !strings.Contains(out(), "left the rack before it was drained") {
		t.Errorf("the command: %v, %q", err, out())
	}
	r.eventually("the vNode has failed", func() bool { return r.vnode("v").State == "VNODE_STATE_FAILED" })
	if v := r.vnode("v"); !strings.Contains(v.Reason, "vr-") {
		t.Errorf("the reason names no vRegion: %q", v.Reason)
	}
	r.must("rm", "v")
	r.empty()
}

// A drain outlasts the command that shows it, which says so when it is interrupted,
// the VMM's pager, the processor monitor and the global monitor.
func TestDrainSurvives(t *testing.T) {
	v, target := stuck(t, "--lease", "60s")
	r := v.r
	watch, out := r.watch("monitor", "drain", "memory-1")
	watch.Process.Signal(os.Interrupt)
	if err := watch.Wait(); status(err) == 0 || !strings.Contains(out(), "the drain of memory-1 goes on") {
		t.Errorf("the command: %v, %q", err, out())
	}
	r.signal(pagerOf(t, r.vnode("v").PID), unix.SIGKILL)
	for _, name := range []string{"processor-1", "global-1"} {
		r.kill(name)
		r.must("rack", "up")
	}
	if s := r.status("memory-1"); s.Member.State != "MEMBER_STATE_DRAINING" || s.Left != 8 {
		t.Errorf("the drain: %+v, want all 8 vRegions to move still", s)
	}
	r.signal(target.Pid, unix.SIGCONT)
	v.finish()
}

// pagerOf is the process of a VMM's pager.
func pagerOf(t *testing.T, vmm int) int {
	t.Helper()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", vmm))
	for _, f := range lists {
		text, _ := os.ReadFile(f)
		for pid := range strings.FieldsSeq(string(text)) {
			args, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if n, err := strconv.Atoi(pid); err == nil && bytes.Contains(args, []byte("\x00pager")) {
				return n
			}
		}
	}
	t.Fatalf("process %d has no pager", vmm)
	return 0
}

// A drain that is cancelled leaves the vRegions where they are, and the monitor
// takes new ones; what is on its way arrives.
func TestDrainCancelled(t *testing.T) {
	v, target := stuck(t, "--lease", "30s")
	r := v.r
	r.must("monitor", "drain", "--cancel", "memory-1")
	r.signal(target.Pid, unix.SIGCONT)
	r.eventually("the move that was under way is over", func() bool { return r.happened("vregion.moved", "v", "to spare") })
	if n := r.owners(); n[r.idOf("spare")] != 1 || n[r.idOf("memory-1")] != 7 {
		t.Errorf("owners: %v, want 7 at memory-1 and 1 at spare", n)
	}
	r.must(append(small("w", 1<<40), "--detach")...)
	r.eventually("a new vNode has its memory", func() bool { return len(list[[]vregion](r, "vregion", "ls", "w")) == 4 })
	r.must("monitor", "drain", "--detach", "spare")
	r.eventually("w has memory at memory-1", func() bool { return r.owners()[r.idOf("memory-1")] == 12 })
	v.runs()
	r.must("stop", "w")
	r.must("rm", "w")
	v.verified(6)
	r.empty()
}
