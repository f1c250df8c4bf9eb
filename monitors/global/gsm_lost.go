package global

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"splitvm/remote/api"
	"splitvm/remote/blockclient"
)

// A replica whose monitor is lost is replaced by a move of it, as from a monitor that is
// drained. Where a vNode writes the volume, its VMM knows which replicas are whole. Where
// none does, the ones that are left have to be told first that they go on alone, or who
// opens the volume waits for the lost one (forsake):
//
//	given_up   the lost one is told of to nobody; should it come back, what it says of
//	           itself is not believed, for the others may have gone on
//	voted_out  those have a newer epoch, in which it is no member
//
// That is safe where one of them had its last writer end in order: a lost one has no
// write then that this one has not. Else an operator has to accept the loss.

// removed tells whether an operator has said that a storage monitor is lost for good.
// The caller holds mu.
func (l *leader) removed(id uint64) bool {
	return l.homes[id].GetState() == api.MemberState_MEMBER_STATE_REMOVED
}

// lost tells whether a storage monitor is not waited for any more. The caller holds mu.
func (l *leader) lost(id uint64) bool { return l.removed(id) || l.overdue[id] }

// findOverdue finds the storage monitors that have been away for so long that what they
// had is made again. Not if more are away than there are: then it is rather the network,
// or a rack that is being started. The caller holds mu.
func (l *leader) findOverdue(c *change) {
	if l.cfg.RepairAfter <= 0 {
		return
	}
	here, away := 0, slices.DeleteFunc(l.awayWithReplicas(), l.removed)
	for _, m := range l.members {
		if m.Role == api.Role_ROLE_STORAGE {
			here++
		}
	}
	for _, id := range away {
		if len(away) > here || l.overdue[id] || time.Since(l.away[id]) < l.cfg.RepairAfter {
			continue
		}
		l.overdue[id] = true
		m := &member{Member: l.homes[id]}
		l.happened(c, "member.overdue", m.about(), "away for %v: its replicas of %d volumes are made again elsewhere", l.cfg.RepairAfter, len(l.volumesAt(id)))
	}
}

// left are the replicas whose monitors are not lost. The caller holds mu.
func (l *leader) left(v *api.VolumePlace) []uint64 {
	return slices.DeleteFunc(slices.Clone(v.Replicas), l.lost)
}

// toForsake are the lost replicas of a volume that nobody has, if the others are to be
// told. The caller holds mu.
func (l *leader) toForsake(v *api.VolumePlace) []uint64 {
	lost := slices.DeleteFunc(slices.Clone(v.Replicas), func(id uint64) bool { return !l.lost(id) })
	told := !slices.ContainsFunc(lost, func(id uint64) bool { return !slices.Contains(v.VotedOut, id) })
	if v.ReadOnly || told || len(lost) == len(v.Replicas) || l.inUse(v.Name, false) != nil {
		return nil
	}
	return lost
}

// forsaking is what forsake begins with.
type forsaking struct {
	v        *api.VolumePlace
	lost     []uint64
	names    []string // of their monitors
	at       []string // addresses of all others
	believed []string // those of them that were not given up before
	accept   bool     // what only the lost ones have is given up
}

// forsake has the replicas that are left go on without those that are lost.
func (l *leader) forsake(ctx context.Context, name string) error {
	f, done, err := l.beginForsake(name)
	if err != nil || f == nil {
		return err
	}
	defer done()
	cfg := blockclient.Config{Monitors: f.at, Name: name, Degraded: true, Log: l.log}
	s, err := blockclient.Survey(ctx, cfg)
	if err != nil {
		return err
	}
	orderly := slices.ContainsFunc(s.Orderly, func(a string) bool { return slices.Contains(f.believed, a) })
	if !s.Complete && !orderly && !f.accept {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.moves.unsure[name] = true
		return errWait
	}
	if err := l.giveUp(f); err != nil { // before anything can be written that the lost ones lack
		return err
	}
	v, err := blockclient.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := v.Close(); err != nil {
		return err
	}
	return l.votedOut(f)
}

// beginForsake reserves a volume for forsake; nil: it is not to be.
func (l *leader) beginForsake(name string) (*forsaking, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.volumes[name]
	if x == nil || len(l.toForsake(x)) == 0 {
		return nil, nil, nil
	}
	f := &forsaking{v: l.located(x), lost: l.toForsake(x)}
	for _, r := range f.v.Monitors {
		switch {
		case slices.Contains(f.lost, r.Member):
			f.names = append(f.names, r.Name)
			f.accept = f.accept || l.homes[r.Member].GetAcceptLoss()
			continue
		case r.Member == x.MovesTo && r.Away: // who is told of it is told of the others, too
			continue
		case len(r.Data) == 0:
			return nil, nil, fmt.Errorf("storage monitor %s has no address", r.Name)
		case r.Member != x.MovesTo && !slices.Contains(x.GivenUp, r.Member):
			f.believed = append(f.believed, r.Data[0])
		}
		f.at = append(f.at, r.Data[0])
	}
	done, err := l.reserve(x)
	return f, done, err
}

// giveUp notes that the lost replicas are not believed any more.
func (l *leader) giveUp(f *forsaking) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.volumes[f.v.Name]
	v.GivenUp = union(v.GivenUp, f.lost)
	var c change
	c.putVolume(v)
	return l.commit(&c)
}

// votedOut notes that the others know, but for replicas that have come back.
func (l *leader) votedOut(f *forsaking) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.volumes[f.v.Name]
	v.VotedOut = union(v.VotedOut, slices.DeleteFunc(slices.Clone(f.lost), func(id uint64) bool { return !l.lost(id) }))
	var c change
	c.putVolume(v)
	l.happened(&c, "volume.degraded", about{subject: v.Name}, "goes on with %d of %d replicas, without %s", len(l.left(v)), len(v.Replicas), strings.Join(f.names, ", "))
	return l.commit(&c)
}

func union(a, b []uint64) []uint64 {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func without(list []uint64, id uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(list), func(x uint64) bool { return x == id })
}

// whyUnrepaired says why a volume with lost replicas is not repaired now; "" if it is.
// The caller holds mu.
func (l *leader) whyUnrepaired(v *api.VolumePlace) string {
	left := l.left(v)
	switch {
	case len(left) == len(v.Replicas):
		return ""
	case len(left) == 0:
		return fmt.Sprintf("all replicas of volume %s are lost", v.Name)
	case l.inUse(v.Name, true) != nil && !v.ReadOnly: // its VMM knows who has what
		return ""
	case v.ReadOnly && slices.ContainsFunc(left, func(id uint64) bool { return l.members[id] != nil }): // all have the same
		return ""
	}
	for _, id := range left {
		if l.members[id] == nil {
			return fmt.Sprintf("volume %s has its other replica at %s, which is away: start that", v.Name, l.replica(id).Name)
		}
	}
	if l.moves.unsure[v.Name] && len(l.toForsake(v)) > 0 {
		return fmt.Sprintf("the last writer of volume %s did not end in order, and the lost replica may have writes that are nowhere else: bring that back, or give them up with `splitvm monitor rm --accept-loss`", v.Name)
	}
	return ""
}

// planRepairs finds targets for replicas that are lost. The caller holds mu.
func (l *leader) planRepairs(c *change) {
	l.findOverdue(c)
	for _, id := range slices.Sorted(maps.Keys(l.homes)) {
		if l.lost(id) {
			l.planVolumes(c, id, "repair of what "+l.homes[id].Name+" had")
		}
	}
}
