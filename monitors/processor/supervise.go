package processor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"splitvm/remote/api"
)

// launch starts a run, unless it runs already.
func (m *monitor) launch(v *api.VNode, disks []*api.VolumePlace) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.runs[v.Id]; old != nil {
		if old.vnode.Run == v.Run {
			return nil
		}
		return status.Errorf(codes.FailedPrecondition, "run %d of vNode %s still ends", old.vnode.Run, v.Spec.Name)
	}
	if m.ctx.Err() != nil {
		return status.Error(codes.Unavailable, "the processor monitor is ending")
	}
	r := newRun(v, m.vnodeDir(v.Id))
	r.disks = disks
	if err := r.start(m.cfg.Command, m); err != nil {
		return status.Errorf(codes.Internal, "start the VMM of vNode %s: %v", v.Spec.Name, err)
	}
	m.log.Info("vNode started", "vID", v.Id, "name", v.Spec.Name, "run", v.Run, "pid", r.proc.pid)
	m.watch(r)
	return nil
}

// watch supervises a run until it has ended and its end is reported. The
// caller holds mu.
func (m *monitor) watch(r *run) {
	m.runs[r.vnode.Id] = r
	m.wg.Go(func() {
		defer close(r.done)
		if !m.supervise(r) {
			return // the monitor ends; the run goes on
		}
		m.mu.Lock()
		delete(m.runs, r.vnode.Id)
		m.mu.Unlock()
		m.nudge()
	})
	m.nudge()
}

// supervise returns true when the end of the run is known to the rack.
func (m *monitor) supervise(r *run) bool {
	if r.proc != nil {
		m.wg.Go(func() { m.reportRunning(r) })
		if !r.wait(m.ctx, m.cfg.Grace) {
			return false
		}
		defer r.proc.close()
	}
	v := r.outcome()
	m.log.Info("vNode ended", "vID", v.Id, "name", r.vnode.Spec.Name, "state", v.State.String(), "exit", v.ExitStatus, "reason", v.Reason)
	if _, err := m.report(v); err != nil {
		return false
	}
	if err := os.Remove(r.file("vnode")); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.log.Warn("vNode's folder", "vID", v.Id, "err", err)
	}
	return true
}

// reportRunning tells the rack that a run goes on, and when its VMM is whole: its
// volumes are open and its control socket answers. One that the rack does not know
// is ended.
func (m *monitor) reportRunning(r *run) {
	v := &api.VNode{Id: r.vnode.Id, Run: r.vnode.Run, State: api.VNodeState_VNODE_STATE_STARTING,
		Pid: uint32(r.proc.pid), Control: m.control(r.vnode)}
	for {
		if m.whole(r) {
			v.State = api.VNodeState_VNODE_STATE_RUNNING
		}
		unknown, err := m.report(v)
		if err != nil {
			return
		}
		if unknown {
			m.log.Warn("the rack does not know this run: ending it", "vID", v.Id, "run", v.Run)
			r.end(true, "the rack gave it up")
			return
		}
		if v.State == api.VNodeState_VNODE_STATE_RUNNING || !m.untilWhole(r) {
			return
		}
	}
}

// whole tells whether a VMM answers at its control socket.
func (m *monitor) whole(r *run) bool {
	conn, err := net.Dial("unix", m.control(r.vnode))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// untilWhole waits for a VMM; it returns false if the run or the monitor ends before.
func (m *monitor) untilWhole(r *run) bool {
	for !m.whole(r) {
		select {
		case <-r.done:
			return false
		case <-m.ctx.Done():
			return false
		case <-time.After(wholeTime):
		}
	}
	return true
}

// wholeTime is how often a VMM that starts is looked at: it takes some 30 ms.
const wholeTime = 5 * time.Millisecond

// report tells the rack, for as long as it takes; an error means that the
// monitor ends.
func (m *monitor) report(v *api.VNode) (unknown bool, err error) {
	for {
		select {
		case <-m.joined:
		case <-m.ctx.Done():
			return false, m.ctx.Err()
		}
		answer, err := m.vnodes.ReportVNode(m.ctx, &api.ReportVNodeRequest{Processor: m.id.Load(), Vnode: v})
		if err == nil {
			return answer.Unknown, nil
		}
		m.log.Warn("report to the rack", "vID", v.Id, "err", err)
		select {
		case <-m.ctx.Done():
			return false, m.ctx.Err()
		case <-time.After(retryTime):
		}
	}
}

const retryTime = 500 * time.Millisecond

// adopt finds the runs that an earlier monitor of this folder left.
func (m *monitor) adopt() error {
	files, err := filepath.Glob(filepath.Join(m.cfg.Dir, "vnodes", "*", "vnode"))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		v := new(api.VNode)
		if err := protojson.Unmarshal(raw, v); err != nil || v.Spec == nil {
			return fmt.Errorf("%s: not a vNode: %w", f, err)
		}
		r := newRun(v, filepath.Dir(f))
		if r.proc, err = findProcess(markVNode+r.mark(), "run"); err != nil {
			return err
		}
		m.log.Info("vNode adopted", "vID", v.Id, "name", v.Spec.Name, "runs", r.proc != nil)
		m.watch(r)
	}
	return nil
}

// rejoined reports all runs again: the rack may have given them up meanwhile.
func (m *monitor) rejoined() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.runs {
		if r.proc != nil {
			m.wg.Go(func() { m.reportRunning(r) })
		}
	}
}

// stopped waits for the run of a vNode, if there is one, until ctx ends.
func (m *monitor) stopped(ctx context.Context, id uint64) error {
	m.mu.Lock()
	r := m.runs[id]
	m.mu.Unlock()
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
