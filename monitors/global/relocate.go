package global

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/status"

	"splitvm/monitors/global/place"
	"splitvm/remote"
	"splitvm/remote/api"
)

// moves are the vRegions that are to move to another owner. Guarded by leader.mu,
// but for kick.
type moves struct {
	wanted map[uint64]*api.VRegion // those with a target, by id
	active map[uint64]*relocation  // those of them that are on their way, by id
	late   map[uint64]time.Time    // vRegions whose move has failed are not tried before
	kick   chan struct{}           // there may be something to do

	volumes     map[string]*volumeMove // replicas that are on their way, by volume
	lateVolumes map[string]time.Time   // as late
	unsure      map[string]bool        // volumes of which a lost replica may have what no other has
}

// relocation is a vRegion on its way. Guarded by leader.mu.
type relocation struct {
	vnode        uint64
	to           string // the target's name
	began        time.Time
	copied, left uint64 // bytes
	trouble      string // why it does not go on
}

const (
	maxActive  = 4                      // vRegions on their way at once in a rack
	lookTime   = time.Second            // how often to look for something to move
	pollTime   = 100 * time.Millisecond // how often to ask how far a move has got
	pauseTime  = time.Second            // before asking again who did not answer
	failedTime = 2 * time.Second        // before a vRegion whose move failed is tried again
)

func (m *moves) init() {
	m.wanted, m.active, m.late = map[uint64]*api.VRegion{}, map[uint64]*relocation{}, map[uint64]time.Time{}
	m.volumes, m.lateVolumes = map[string]*volumeMove{}, map[string]time.Time{}
	m.unsure = map[string]bool{}
	m.kick = make(chan struct{}, 1)
}

func (m *moves) nudge() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// relocations moves vRegions until the leadership ends.
func (l *leader) relocations() {
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for {
		if err := l.moveSome(); err != nil {
			l.log.Warn("plan moves", "err", err)
		}
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		case <-l.moves.kick:
		}
	}
}

// moveSome finds targets for what draining monitors hold and begins what can be
// begun: few at a time, and of each vNode one.
func (l *leader) moveSome() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.planDrains(); err != nil {
		return err
	}
	l.moveVolumes()
	busy := map[uint64]bool{}
	for _, a := range l.moves.active {
		busy[a.vnode] = true
	}
	for id, r := range l.moves.wanted {
		v := l.vnodes[r.Vnode]
		if len(l.moves.active) >= maxActive {
			break
		}
		if busy[r.Vnode] || l.moves.active[id] != nil || v == nil || v.State != api.VNodeState_VNODE_STATE_RUNNING {
			continue
		}
		busy[r.Vnode] = true
		l.moves.active[id] = &relocation{vnode: r.Vnode, to: l.memberName(r.Target), began: time.Now()}
		l.wg.Go(func() { l.relocate(id) })
	}
	return nil
}

// relocate has a vRegion's vNode move it, and notes the outcome. What the vNode's
// VMM says is what holds: it alone knows when the owner has changed.
func (l *leader) relocate(id uint64) {
	for l.ctx.Err() == nil {
		processor, ask := l.moveRequest(id)
		if ask == nil {
			return
		}
		var answer *api.MoveVRegionResponse
		err := l.ask(l.ctx, processor, func(ctx context.Context, p api.ProcessorClient) (err error) {
			answer, err = p.MoveVRegion(ctx, ask)
			return err
		})
		if over := l.heard(id, ask, answer, err); over {
			l.moves.nudge()
			return
		}
		pause := pollTime
		if err != nil {
			pause = pauseTime
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(pause):
		}
	}
}

// moveRequest is what to ask a processor monitor for a vRegion that moves; nil if it
// does not any more: its vNode has ended.
func (l *leader) moveRequest(id uint64) (processor uint64, ask *api.MoveVRegionRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.known[id]
	if r == nil || r.Target == 0 {
		delete(l.moves.active, id)
		return 0, nil
	}
	v := l.vnodes[r.Vnode]
	ask = &api.MoveVRegionRequest{Vnode: r.Vnode, Run: v.Run, Index: r.Index, Epoch: r.TargetEpoch}
	if m := l.members[r.Target]; m != nil && len(m.Data) > 0 {
		ask.To = m.Data[0]
	}
	return v.Processor, ask // without an address it fails, if it was not begun
}

// heard takes the answer to a request, and tells whether the move is over.
func (l *leader) heard(id uint64, ask *api.MoveVRegionRequest, answer *api.MoveVRegionResponse, err error) (over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, a := l.known[id], l.moves.active[id]
	if r == nil || r.TargetEpoch != ask.Epoch {
		delete(l.moves.active, id)
		return true // the vNode has ended
	}
	if err != nil {
		a.trouble = status.Convert(err).Message()
		return false
	}
	a.trouble = ""
	switch answer.State {
	case api.MoveVRegionResponse_STATE_MOVED:
		err = l.moved(r, a)
	case api.MoveVRegionResponse_STATE_FAILED:
		err = l.notMoved(r, a.to, answer.Reason)
	default:
		a.copied, a.left = answer.CopiedBytes, answer.LeftBytes
		return false
	}
	if err != nil {
		l.log.Warn("note a move", "vID", r.Vnode, "vRegion", remote.VRegionID(id).String(), "err", err)
	}
	delete(l.moves.active, id)
	return true
}

// aim gives a vRegion a target for which there is a promise. The caller holds mu.
func (l *leader) aim(c *change, r *api.VRegion, target uint64, why string) {
	r.Target, r.TargetWhy = target, why
	r.TargetEpoch = max(r.Epoch, r.TargetEpoch) + 1
	l.moves.wanted[r.Id] = r
	c.put(idKey(keyRegion, r.Id), r)
}

// unaim takes the target away, if the move was never begun, or has failed. The
// epoch stays: it is not given again. The caller holds mu.
func (l *leader) unaim(c *change, r *api.VRegion) {
	l.pools[api.Role_ROLE_MEMORY].Release(place.ID(r.Target), place.Amount{r.Bytes})
	r.Target, r.TargetWhy = 0, ""
	delete(l.moves.wanted, r.Id)
	c.put(idKey(keyRegion, r.Id), r)
}

// moved makes the target the owner. The old owner's copy is forgotten with its next
// heartbeat. The caller holds mu.
func (l *leader) moved(r *api.VRegion, a *relocation) error {
	from := r.Owners[0]
	l.pools[api.Role_ROLE_MEMORY].Release(place.ID(from), place.Amount{r.Bytes})
	r.Owners, r.Epoch, r.Why = []uint64{r.Target}, r.TargetEpoch, r.TargetWhy
	r.Target, r.TargetWhy = 0, ""
	delete(l.moves.wanted, r.Id)
	delete(l.moves.late, r.Id)
	var c change
	c.put(idKey(keyRegion, r.Id), r)
	l.happened(&c, "vregion.moved", l.aboutVRegion(r), "%v, %d MiB, from %s to %s in %v", remote.VRegionID(r.Id), r.Bytes>>20,
		l.memberName(from), a.to, time.Since(a.began).Round(time.Millisecond))
	return l.commit(&c)
}

// notMoved leaves the owner who it is. The caller holds mu.
func (l *leader) notMoved(r *api.VRegion, to, reason string) error {
	if l.members[r.Target] == nil {
		reason = to + " is no member of the rack any more; " + reason
	}
	l.moves.late[r.Id] = time.Now().Add(failedTime)
	var c change
	l.happened(&c, "vregion.not-moved", l.aboutVRegion(r), "%v, from %s to %s: %s", remote.VRegionID(r.Id),
		l.memberName(r.Owners[0]), to, reason)
	l.unaim(&c, r)
	return l.commit(&c)
}

func (l *leader) aboutVRegion(r *api.VRegion) about {
	a := about{vnode: r.Vnode}
	if v := l.vnodes[r.Vnode]; v != nil {
		a = aboutVNode(v)
	}
	a.vregion = r.Id
	return a
}

// memberName is for people. The caller holds mu.
func (l *leader) memberName(id uint64) string {
	if m := l.members[id]; m != nil {
		return m.Name
	}
	return fmt.Sprintf("member %d", id)
}

// owned lists the vRegions of which a member is an owner. The caller holds mu.
func (l *leader) owned(id uint64) (list []*api.VRegion) {
	for _, r := range l.known {
		if slices.Contains(r.Owners, id) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *api.VRegion) int {
		if a.Vnode != b.Vnode {
			return int(a.Vnode) - int(b.Vnode)
		}
		return byIndex(a, b)
	})
	return list
}
