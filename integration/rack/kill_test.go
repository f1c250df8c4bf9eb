package rack

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// long starts a vNode that runs until it is stopped.
func (r *rack) long(name string) vnode {
	r.t.Helper()
	r.must(append(small(name, 1<<40), "--detach")...)
	r.eventually(name+" runs", func() bool { return r.vnode(name).State == "VNODE_STATE_RUNNING" })
	return r.vnode(name)
}

// kill kills a monitor of the rack and waits until it is dead: `rack up` starts
// again what is.
func (r *rack) kill(name string) {
	r.t.Helper()
	pid := r.process(name).PID
	r.signal(pid, unix.SIGKILL)
	r.eventually(name+" is dead", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, after, _ := strings.Cut(string(stat), ") ")
		return err != nil || strings.HasPrefix(after, "Z")
	})
}

// alive tells whether a vNode's VMM runs still.
func alive(v vnode) bool { return v.PID > 0 && unix.Kill(v.PID, 0) == nil }

// happened tells whether there was an event of a kind about a subject.
func (r *rack) happened(kind, subject, text string) bool {
	return slices.ContainsFunc(list[[]event](r, "events"), func(e event) bool {
		return e.Kind == kind && e.Subject == subject && strings.Contains(e.Text, text)
	})
}

// A vNode runs on while the only global monitor is away, and the next one knows it.
func TestKillGlobal(t *testing.T) {
	r := up(t)
	v := r.long("v")
	r.kill("global-1")
	if !alive(v) {
		t.Error("the vNode died with the global monitor")
	}
	r.must("rack", "up")
	if now := r.vnode("v"); now.State != "VNODE_STATE_RUNNING" || now.PID != v.PID {
		t.Errorf("afterwards: %+v, was %+v", now, v)
	}
	r.must(small("w", 1000)...)
	r.must("stop", "v")
	r.must("rm", "v")
	r.empty()
}

// The next of three global monitors leads when one is lost.
func TestKillOneOfThreeGlobals(t *testing.T) {
	r := up(t, "--globals", "3")
	v := r.long("v")
	for _, name := range []string{"global-1", "global-2", "global-3"} {
		r.kill(name)
		r.eventually("the others answer without "+name, func() bool {
			_, err := r.try("ps")
			return err == nil
		})
		if now := r.vnode("v"); now.State != "VNODE_STATE_RUNNING" || now.PID != v.PID || !alive(v) {
			t.Errorf("without %s: %+v, was %+v", name, now, v)
		}
		r.must(small("w", 1000)...)
		r.must("rack", "up")
	}
	r.must("stop", "v")
	r.must("rm", "v")
	r.empty()
}

// A vNode outlives its processor monitor; the next one adopts it and can tell
// its end.
func TestKillProcessor(t *testing.T) {
	r := up(t)
	v := r.long("v")
	r.kill("processor-1")
	r.must("rack", "up")
	if now := r.vnode("v"); now.State != "VNODE_STATE_RUNNING" || now.PID != v.PID || !alive(v) {
		t.Errorf("afterwards: %+v, was %+v", now, v)
	}
	r.must("stop", "v")
	if now := r.vnode("v"); now.ExitStatus != 143 {
		t.Errorf("stopped after adoption: %+v", now)
	}
	r.must("rm", "v")
	r.empty()
}

// A VMM that is killed is a vNode that has failed, and leaves nothing.
func TestKillVMM(t *testing.T) {
	r := up(t)
	v := r.long("v")
	r.signal(v.PID, unix.SIGKILL)
	r.eventually("the vNode has failed", func() bool { return r.vnode("v").State == "VNODE_STATE_FAILED" })
	if !r.happened("vnode.failed", "v", "killed") {
		t.Errorf("no event says so: %+v", list[[]event](r, "events"))
	}
	r.must("rm", "v")
	r.empty()
}

// A vNode outlives the command line that started it.
func TestKillCommandLine(t *testing.T) {
	r := up(t)
	cmd := r.command(small("v", 1<<40)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.eventually("it runs", func() bool {
		return len(list[[]vnode](r, "ps")) == 1 && r.vnode("v").State == "VNODE_STATE_RUNNING"
	})
	v := r.vnode("v")
	cmd.Process.Kill()
	cmd.Wait()
	if !alive(v) {
		t.Error("the vNode died with the command line")
	}
	r.must("stop", "v")
	r.must("rm", "v")
	r.empty()
}

// Ctrl-C at the command line ends the vNode and removes it.
func TestInterruptCommandLine(t *testing.T) {
	r := up(t)
	cmd := r.command(small("v", 1<<40)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.eventually("it runs", func() bool {
		return len(list[[]vnode](r, "ps")) == 1 && r.vnode("v").State == "VNODE_STATE_RUNNING"
	})
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); status(err) != 143 {
		t.Errorf("exit status: %v, want 143", err)
	}
	if n := len(list[[]vnode](r, "ps", "-a")); n != 0 {
		t.Errorf("%d vNodes are left", n)
	}
	r.empty()
}

// The loss of a memory monitor ends the vNodes that had memory there, with an
// event that says so; the next one is used.
func TestKillMemory(t *testing.T) {
	r := up(t, "--lease", "6s")
	r.long("v")
	r.kill("memory-1")
	r.eventually("the vNode has failed", func() bool { return r.vnode("v").State == "VNODE_STATE_FAILED" })
	if v := r.vnode("v"); !strings.Contains(v.Reason, "vr-") {
		t.Errorf("the reason names no vRegion: %q", v.Reason)
	}
	r.eventually("the monitor is lost", func() bool { return r.happened("member.lost", "memory-1", "memory monitor") })
	r.must("rm", "v")
	r.must("rack", "up")
	r.must(small("w", 1000)...)
	r.empty()
}
