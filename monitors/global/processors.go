package global

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

// askTime bounds a call to a processor monitor.
const askTime = 10 * time.Second

// ask calls a processor monitor. mu is not held.
func (l *leader) ask(ctx context.Context, id uint64, do func(context.Context, api.ProcessorClient) error) error {
	l.mu.Lock()
	m := l.members[id]
	l.mu.Unlock()
	if m == nil {
		return status.Errorf(codes.Unavailable, "processor monitor %d is not there", id)
	}
	conn, err := grpc.NewClient(m.Control, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("processor monitor %s at %s: %w", m.Name, m.Control, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if err := do(ctx, api.NewProcessorClient(conn)); err != nil {
		return fmt.Errorf("processor monitor %s at %s: %w", m.Name, m.Control, err)
	}
	return nil
}

// launch has a vNode's processor monitor start it. Where that fails for good, the
// vNode has failed.
func (l *leader) launch(ctx context.Context, v *api.VNode) {
	l.mu.Lock()
	volumes := l.volumesOf(v)
	l.mu.Unlock()
	err := l.ask(context.WithoutCancel(ctx), v.Processor, func(ctx context.Context, p api.ProcessorClient) error {
		_, err := p.Launch(ctx, &api.LaunchRequest{Vnode: v, Volumes: volumes})
		return err
	})
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.vnodes[v.Id]
	if now == nil || now.Run != v.Run || now.State != api.VNodeState_VNODE_STATE_STARTING {
		return
	}
	var c change
	l.ended(&c, now, api.VNodeState_VNODE_STATE_FAILED, 0, strings.TrimSpace(err.Error()))
	l.commit(&c)
}

// end has a run stopped. A processor monitor that does not know it reports so
// itself.
func (l *leader) end(ctx context.Context, v *api.VNode, kill bool) error {
	return l.ask(ctx, v.Processor, func(ctx context.Context, p api.ProcessorClient) error {
		_, err := p.End(ctx, &api.EndRequest{Vnode: v.Id, Run: v.Run, Kill: kill})
		return err
	})
}

// forget has a processor monitor remove what it keeps of a vNode. One that is away
// removes it when it joins again.
func (l *leader) forget(ctx context.Context, v *api.VNode) {
	if v.Processor == 0 {
		return
	}
	err := l.ask(ctx, v.Processor, func(ctx context.Context, p api.ProcessorClient) error {
		_, err := p.Forget(ctx, &api.ForgetRequest{Vnode: v.Id})
		return err
	})
	if err != nil {
		l.log.Warn("forget vNode", "vID", v.Id, "err", err)
	}
}

// resume launches what an earlier leader placed but may not have launched.
func (l *leader) resume() {
	l.mu.Lock()
	var list []*api.VNode
	for _, v := range l.vnodes {
		if v.State == api.VNodeState_VNODE_STATE_STARTING {
			list = append(list, v)
		}
	}
	l.mu.Unlock()
	for _, v := range list {
		l.launch(l.ctx, v)
	}
}

func stateName(s api.VNodeState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "VNODE_STATE_"))
}
