package global

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"splitvm/remote/api"
)

// volumesAt lists the volumes of which a storage monitor has a replica. The caller
// holds mu.
func (l *leader) volumesAt(member uint64) (list []*api.VolumePlace) {
	for _, name := range slices.Sorted(maps.Keys(l.volumes)) {
		if v := l.volumes[name]; slices.Contains(v.Replicas, member) {
			list = append(list, v)
		}
	}
	return list
}

// aimVolumes finds targets for what a storage monitor has, for all or for none of it.
// The caller holds mu.
func (l *leader) aimVolumes(c *change, m *member) (aimed, n int, err error) {
	list := l.volumesAt(m.Id)
	var done []*api.VolumePlace
	for _, v := range list {
		if v.MovesTo != 0 {
			continue
		}
		if err := l.aimVolume(c, v, m.Id, "drain of "+m.Name); err != nil {
			for _, v := range done {
				l.keepVolume(c, v)
			}
			return len(done), len(list), err
		}
		done = append(done, v)
	}
	return len(done), len(list), nil
}

// planVolumes finds targets for volumes of a draining or lost member that have none.
// The caller holds mu.
func (l *leader) planVolumes(c *change, member uint64, why string) {
	for _, v := range l.volumesAt(member) {
		if v.MovesTo != 0 || v.State != api.VolumeState_VOLUME_STATE_READY || len(l.left(v)) == 0 || time.Now().Before(l.moves.lateVolumes[v.Name]) {
			continue
		}
		if l.aimVolume(c, v, member, why) != nil {
			return // the drain's status says so
		}
		if l.lost(member) {
			l.happened(c, "volume.repair", about{subject: v.Name}, "%d of %d replicas are left; a new one at %s instead of %s",
				len(l.left(v)), len(v.Replicas), l.replica(v.MovesTo).Name, l.replica(member).Name)
		}
	}
}

// keepVolume has a replica stay where it is. Once a target has been made only who moves
// it can tell which of the two holds everything, and is asked to end the move. The
// caller holds mu.
func (l *leader) keepVolume(c *change, v *api.VolumePlace) {
	a := l.moves.volumes[v.Name]
	switch {
	case a == nil && !v.TargetMade:
		l.unaimVolume(v)
	case a != nil:
		a.stop()
		fallthrough
	default:
		v.Cancelled = true
	}
	c.putVolume(v)
}

// volumesLeft tells what a storage monitor has still, and what that waits for. The
// caller holds mu.
func (l *leader) volumesLeft(s *api.DrainStatus, m *member) (waits []string) {
	known := 0
	for _, v := range l.volumes {
		a, here := l.moves.volumes[v.Name], slices.Contains(v.Replicas, m.Id)
		switch {
		case l.removed(m.Id) && !here:
			continue
		case l.removed(m.Id) && len(l.left(v)) == 0:
			s.Lost = append(s.Lost, v.Name)
			continue
		case here:
			s.BytesLeft += v.Bytes
			if a != nil && v.MovesFrom == m.Id {
				s.BytesLeft -= min(a.copied, v.Bytes)
			}
		case slices.Contains(v.Leaving, m.Id): // is being deleted there
		case v.MovesTo == m.Id: // is still coming
		default:
			continue
		}
		known++
		s.VolumesLeft++
		if a != nil {
			waits = append(waits, a.trouble)
		} else {
			waits = append(waits, l.whyVolumeIdle(v))
		}
	}
	slices.Sort(s.Lost)
	if m.held > known {
		waits = append(waits, fmt.Sprintf("%d volumes were made with --storage-monitor, outside of the rack: `splitvm volume ls --storage-monitor ADDRESS` lists them", m.held-known))
	}
	return waits
}

// whyVolumeIdle says why a volume at a draining member is not on its way; "" if it is
// soon. The caller holds mu.
func (l *leader) whyVolumeIdle(v *api.VolumePlace) string {
	if why := l.whyVolumeWaits(v); why != "" {
		return why
	}
	if v.MovesTo == 0 && l.toDelete(v) == 0 && !time.Now().Before(l.moves.lateVolumes[v.Name]) {
		return "no other storage monitor has room: start one with `" + startAnother(api.Role_ROLE_STORAGE) + "`"
	}
	return ""
}
