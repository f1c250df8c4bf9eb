package global

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// active tells whether a vNode has a processor.
func active(v *api.VNode) bool {
	return v.State == api.VNodeState_VNODE_STATE_STARTING || v.State == api.VNodeState_VNODE_STATE_RUNNING
}

func aboutVNode(v *api.VNode) about {
	return about{vnode: v.Id, member: v.Processor, subject: v.Spec.Name}
}

// vnodeNeed is what a vNode is promised at its processor monitor.
func vnodeNeed(s *api.VNodeSpec) place.Amount {
	return place.Amount{s.Excache.GetFloorBytes(), uint64(s.Vcpus)}
}

// find returns a vNode by name or vID. The caller holds mu.
func (l *leader) find(ref string) (*api.VNode, error) {
	if id, ok := l.names[ref]; ok {
		return l.vnodes[id], nil
	}
	if id, err := strconv.ParseUint(ref, 10, 64); err == nil && l.vnodes[id] != nil {
		return l.vnodes[id], nil
	}
	return nil, status.Errorf(codes.NotFound, "no vNode %q; `splitvm ps -a` lists them", ref)
}

// putVNode adds the vNode to a change.
func (c *change) putVNode(v *api.VNode) {
	c.put(idKey(keyVNode, v.Id), v)
	c.networks = true
}

// create implements api.VNodesServer.
func (l *leader) create(in *api.CreateVNodeRequest) (*api.VNode, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	spec, err := complete(in.Spec)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%v", err)
	}
	if id, ok := l.names[spec.Name]; ok && spec.Name != "" {
		if v := l.vnodes[id]; in.RequestId != "" && v.RequestId == in.RequestId {
			return proto.CloneOf(v), nil // asked twice
		}
		return nil, status.Errorf(codes.AlreadyExists, "a vNode named %s is there already: `splitvm rm %s` removes it", spec.Name, spec.Name)
	}
	var c change
	v := &api.VNode{Id: l.next(&c, "vnode"), Spec: spec, State: api.VNodeState_VNODE_STATE_CREATED,
		CreatedUnixMs: time.Now().UnixMilli(), RequestId: in.RequestId}
	if spec.Name == "" {
		spec.Name = fmt.Sprintf("vnode-%d", v.Id)
	}
	if v.Vip, err = l.freeVIP(); err != nil {
		return nil, status.Errorf(codes.ResourceExhausted, "%v", err)
	}
	l.vnodes[v.Id], l.names[spec.Name] = v, v.Id
	c.putVNode(v)
	l.happened(&c, "vnode.created", aboutVNode(v), "%d MiB of memory, %d vCPUs, %s", spec.MemoryBytes>>20, spec.Vcpus, v.Vip)
	if err := l.commit(&c); err != nil {
		return nil, err
	}
	return proto.CloneOf(v), nil
}

// start implements api.VNodesServer: it places the vNode, and has it launched.
func (l *leader) start(ctx context.Context, ref string) (*api.VNode, error) {
	v, err := l.placeVNode(ref)
	if err != nil {
		return nil, err
	}
	l.launch(ctx, v)
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, err = l.find(ref); err != nil {
		return nil, err
	}
	if v.State == api.VNodeState_VNODE_STATE_FAILED {
		return nil, status.Errorf(codes.Aborted, "vNode %s was not started: %s", v.Spec.Name, v.Reason)
	}
	return proto.CloneOf(v), nil
}

// placeVNode finds a processor monitor for a vNode that does not run.
func (l *leader) placeVNode(ref string) (*api.VNode, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := l.find(ref)
	if err != nil {
		return nil, err
	}
	if active(v) {
		return nil, status.Errorf(codes.FailedPrecondition, "vNode %s runs already", v.Spec.Name)
	}
	if err := l.attachable(v); err != nil {
		return nil, err
	}
	if err := l.roomForMemory(v); err != nil {
		return nil, err
	}
	d, err := l.pools[api.Role_ROLE_PROCESSOR].Place(place.Request{Need: vnodeNeed(v.Spec), Replicas: 1})
	if err != nil {
		return nil, status.Errorf(codes.ResourceExhausted, "place vNode %s (%d MiB of ExCache, %d vCPUs) on a processor monitor: %v",
			v.Spec.Name, v.Spec.Excache.GetFloorBytes()>>20, v.Spec.Vcpus, err)
	}
	v.Processor, v.ProcessorWhy = uint64(d.Members[0]), d.Why
	v.State, v.Reason, v.ExitStatus, v.EndedUnixMs, v.Pid, v.Control = api.VNodeState_VNODE_STATE_STARTING, "", 0, 0, 0, ""
	v.Run++
	var c change
	c.putVNode(v)
	l.attach(&c, v)
	l.happened(&c, "vnode.placed", aboutVNode(v), "%s", d.Why)
	return proto.CloneOf(v), l.commit(&c)
}

// stop implements api.VNodesServer.
func (l *leader) stop(ctx context.Context, in *api.StopVNodeRequest) (*api.VNode, error) {
	l.mu.Lock()
	v, err := l.find(in.Vnode)
	if err == nil && !active(v) {
		err = status.Errorf(codes.FailedPrecondition, "vNode %s does not run", v.Spec.Name)
	}
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	v = proto.CloneOf(v)
	l.mu.Unlock()
	if err := l.end(ctx, v, in.Kill); err != nil {
		return nil, err
	}
	return v, nil
}

// remove implements api.VNodesServer.
func (l *leader) remove(ctx context.Context, ref string) error {
	l.mu.Lock()
	v, err := l.find(ref)
	if err == nil && active(v) {
		err = status.Errorf(codes.FailedPrecondition, "vNode %s runs: `splitvm stop %s` first", v.Spec.Name, v.Spec.Name)
	}
	if err != nil {
		l.mu.Unlock()
		return err
	}
	v = proto.CloneOf(v)
	l.mu.Unlock()
	l.forget(ctx, v)
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.vnodes[v.Id]; now == nil || now.Run != v.Run {
		return status.Errorf(codes.FailedPrecondition, "vNode %s was started meanwhile", v.Spec.Name)
	}
	var c change
	delete(l.vnodes, v.Id)
	delete(l.names, v.Spec.Name)
	c.remove(idKey(keyVNode, v.Id))
	l.happened(&c, "vnode.removed", aboutVNode(v), "")
	return l.commit(&c)
}

// ended notes the end of a run: its promises and its vRegions are given back.
// The caller holds mu.
func (l *leader) ended(c *change, v *api.VNode, state api.VNodeState, exit int32, reason string) {
	l.pools[api.Role_ROLE_PROCESSOR].Release(place.ID(v.Processor), vnodeNeed(v.Spec))
	v.State, v.ExitStatus, v.Reason, v.EndedUnixMs, v.Pid, v.Control = state, exit, reason, time.Now().UnixMilli(), 0, ""
	n := l.freeVRegions(c, v.Id)
	l.detach(c, v)
	c.putVNode(v)
	text := fmt.Sprintf("%d vRegions given back", n)
	if state == api.VNodeState_VNODE_STATE_EXITED {
		text = fmt.Sprintf("status %d, %s", exit, text)
	}
	if reason != "" {
		text = reason + "; " + text
	}
	l.happened(c, "vnode."+stateName(state), aboutVNode(v), "%s", text)
}

// report implements api.VNodesServer.
func (l *leader) report(in *api.ReportVNodeRequest) (*api.ReportVNodeResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.vnodes[in.Vnode.GetId()]
	if v == nil || v.Processor != in.Processor || v.Run != in.Vnode.Run || !active(v) {
		return &api.ReportVNodeResponse{Unknown: true}, nil
	}
	var c change
	switch in.Vnode.State {
	case api.VNodeState_VNODE_STATE_STARTING:
		return &api.ReportVNodeResponse{}, nil
	case api.VNodeState_VNODE_STATE_RUNNING:
		if v.State == in.Vnode.State {
			return &api.ReportVNodeResponse{}, nil
		}
		v.State, v.Pid, v.Control, v.StartedUnixMs = in.Vnode.State, in.Vnode.Pid, in.Vnode.Control, time.Now().UnixMilli()
		c.putVNode(v)
		l.happened(&c, "vnode.running", aboutVNode(v), "process %d", v.Pid)
	case api.VNodeState_VNODE_STATE_EXITED, api.VNodeState_VNODE_STATE_FAILED:
		l.ended(&c, v, in.Vnode.State, in.Vnode.ExitStatus, in.Vnode.Reason)
	default:
		return nil, status.Errorf(codes.InvalidArgument, "a report of state %v", in.Vnode.State)
	}
	return &api.ReportVNodeResponse{}, l.commit(&c)
}

func (l *leader) get(ref string) (*api.VNode, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := l.find(ref)
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(v), nil
}

func (l *leader) listVNodes() *api.ListVNodesResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &api.ListVNodesResponse{}
	for _, id := range slices.Sorted(maps.Keys(l.vnodes)) {
		r.Vnodes = append(r.Vnodes, proto.CloneOf(l.vnodes[id]))
	}
	return r
}

// inspect implements api.VNodesServer.
func (l *leader) inspect(ref string) (*api.InspectVNodeResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := l.find(ref)
	if err != nil {
		return nil, err
	}
	r := &api.InspectVNodeResponse{Vnode: proto.CloneOf(v), Volumes: l.volumesOf(v)}
	for _, x := range l.vregions[v.Id] {
		r.Vregions = append(r.Vregions, l.describe(x))
	}
	for _, e := range l.events.last {
		if e.Vnode == v.Id {
			r.Events = append(r.Events, e)
		}
	}
	return r, nil
}
