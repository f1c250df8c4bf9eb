package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protojson"

	"splitvm/remote/api"
)

// run is one run of a vNode on this host.
type run struct {
	vnode *api.VNode
	disks []*api.VolumePlace // of the specification's volumes; nil of one that was adopted
	dir   string
	child *exec.Cmd // nil if an earlier monitor started it
	proc  *process  // nil if it had ended before this monitor began
	stop  chan bool // asks for the end; true: at once
	done  chan struct{}

	mu      sync.Mutex
	why     string // of its end, if this monitor ended it; guarded by mu
	excache uint64 // bytes that it has now; guarded by mu
	missed  uint64 // misses when last looked at; guarded by mu
}

func newRun(v *api.VNode, dir string) *run {
	return &run{vnode: v, dir: dir, stop: make(chan bool, 1), done: make(chan struct{}), excache: v.Spec.Excache.GetFloorBytes()}
}

func (r *run) file(name string) string { return filepath.Join(r.dir, name) }

// mark tells this run's VMM from all others of the host.
func (r *run) mark() string {
	return fmt.Sprintf("%d.%d@%s", r.vnode.Id, r.vnode.Run, r.dir)
}

// start makes the vNode's folder and starts its VMM.
func (r *run) start(command func(Launch) *exec.Cmd, m *monitor) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	if err := os.Remove(r.file("status")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	raw, err := protojson.Marshal(r.vnode)
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.file("vnode"), raw, 0o600); err != nil {
		return err
	}
	out, err := os.OpenFile(r.file("out"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	errs, err := os.OpenFile(r.file("err"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer errs.Close()
	r.child = command(Launch{VNode: r.vnode, Placer: m.placerPath(), Network: m.networkPath(), Status: r.file("status"), ExCache: r.excache, Volumes: r.disks})
	r.child.Stdout, r.child.Stderr = out, errs
	r.child.Env = append(os.Environ(), markVNode+r.mark(), "SPLITVM_RUN_DIR="+m.controlDir())
	r.child.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := r.child.Start(); err != nil {
		return err
	}
	r.proc, err = openProcess(r.child.Process.Pid)
	if err != nil {
		return errors.Join(err, r.child.Process.Kill(), r.child.Wait())
	}
	return nil
}

// end asks the VMM to end, once.
func (r *run) end(kill bool, why string) {
	r.mu.Lock()
	r.why = why
	r.mu.Unlock()
	select {
	case r.stop <- kill:
	default: // asked already; a kill replaces what was asked
		if kill && r.proc != nil {
			r.proc.signal(unix.SIGKILL)
		}
	}
}

// wait returns when the VMM has ended, and true; or false when ctx ended. It
// carries out what end asks for.
func (r *run) wait(ctx context.Context, grace time.Duration) bool {
	exited := make(chan error, 1)
	go func() { exited <- r.proc.wait() }()
	var late <-chan time.Time
	for {
		select {
		case err := <-exited:
			return err == nil
		case kill := <-r.stop:
			s := unix.SIGTERM
			if kill {
				s = unix.SIGKILL
			}
			r.proc.signal(s)
			late = time.After(grace)
		case <-late:
			r.proc.signal(unix.SIGKILL)
		case <-ctx.Done():
			r.proc.close()
			<-exited
			return false
		}
	}
}

// outcome is what to report of a VMM that has ended.
func (r *run) outcome() *api.VNode {
	v := &api.VNode{Id: r.vnode.Id, Run: r.vnode.Run, State: api.VNodeState_VNODE_STATE_FAILED}
	r.mu.Lock()
	v.Reason = r.why
	r.mu.Unlock()
	died := "its VMM died"
	if r.child != nil {
		if err := r.child.Wait(); err != nil {
			died = "its VMM died: " + err.Error()
		}
	}
	var s Status
	raw, err := os.ReadFile(r.file("status"))
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	switch {
	case err == nil && s.Failure == "":
		v.State, v.ExitStatus = api.VNodeState_VNODE_STATE_EXITED, int32(s.Exit)
	case err == nil:
		v.Reason = s.Failure
	case v.Reason == "":
		v.Reason = died
	}
	return v
}

// control is the VMM's control socket.
func (m *monitor) control(v *api.VNode) string {
	return filepath.Join(m.controlDir(), v.Spec.Name+".sock")
}

func (m *monitor) vnodeDir(id uint64) string {
	return filepath.Join(m.cfg.Dir, "vnodes", strconv.FormatUint(id, 10))
}
