package storage

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"splitvm/remote"
	"splitvm/remote/blockwire"
)

// writer is who has a volume open for writing.
type writer struct {
	session remote.SessionID // the last one's; it is in the catalog, too
	conn    *conn            // nil: not connected
}

func (w *writer) present() bool { return w.conn != nil }

// claim raises the volume's epoch for the writer at c. When it returns, no request
// of an older epoch takes effect any more. Asking again for the same is no error.
// StaleEpoch if the epoch is not new; Busy if another writer is connected.
func (v *Volume) claim(c *conn, epoch remote.Epoch, q *blockwire.ClaimRequest) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.record
	again := epoch == r.Epoch && q.Session == r.Session
	switch {
	case v.deleted:
		return remote.NoVolume
	case r.ReadOnly:
		return remote.ReadOnly
	case epoch <= r.Epoch && !again:
		return fmt.Errorf("claim volume %q with epoch %d, it has %d: %w", r.Name, epoch, r.Epoch, remote.StaleEpoch)
	case v.writer.present() && v.writer.session != q.Session && !q.Steal:
		return remote.Busy
	}
	r.Epoch, r.Session, r.Open = epoch, q.Session, !q.Closed
	r.Blank = (r.Blank || v.record.Epoch == 0) && !slices.Contains(q.Members, v.store.Monitor())
	r.Away = mergeAway(&r, q, v.stack[0].Common()+1)
	r.Members = slices.Clone(q.Members)
	if err := v.store.catalog.db.Update(func(tx *bolt.Tx) error { return putVolume(tx, &r) }); err != nil {
		return outcome(err)
	}
	v.record = r
	v.writer = writer{session: q.Session, conn: c}
	if q.Closed {
		v.writer.conn = nil
	}
	return nil
}

// mergeAway is the list of replicas that are away after a claim by which r was
// made: what one missed before it still misses, and who was a member and is none
// any more is away from now on.
func mergeAway(r *volumeRecord, q *blockwire.ClaimRequest, since uint64) []awayRecord {
	var list []awayRecord
	for _, o := range r.Away {
		if !slices.Contains(q.Members, o.Monitor) {
			list = append(list, o)
		}
	}
	for _, id := range slices.Concat(q.Away, r.Members) {
		known := slices.ContainsFunc(list, func(a awayRecord) bool { return a.Monitor == id })
		if !known && !slices.Contains(q.Members, id) {
			list = append(list, awayRecord{Monitor: id, Since: since})
		}
	}
	return list
}

// attach makes c the connection of the writer that claimed the volume in an
// earlier one. The earlier one has ended when it returns: nothing that is stuck in
// it takes effect any more.
func (v *Volume) attach(c *conn, session remote.SessionID) error {
	v.mu.Lock()
	old := v.writer.conn
	switch {
	case v.deleted:
		v.mu.Unlock()
		return remote.NoVolume
	case v.record.Session != session || session == 0:
		name := v.record.Name
		v.mu.Unlock()
		return fmt.Errorf("volume %q: %w: another writer has claimed it", name, remote.StaleEpoch)
	}
	v.writer = writer{session: session, conn: c}
	v.mu.Unlock()
	if old != nil {
		old.conn.Shutdown()
		<-old.done
	}
	return nil
}

// detach takes back what made c the writer's connection.
func (v *Volume) detach(c *conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.writer.conn == c {
		v.writer.conn = nil
	}
}

// opened describes the volume to who opens it.
func (v *Volume) opened() blockwire.Opened {
	v.mu.RLock()
	defer v.mu.RUnlock()
	r := &v.record
	return blockwire.Opened{
		Volume: r.ID, Size: r.Size, Epoch: r.Epoch, Monitor: v.store.Monitor(), Session: r.Session,
		ReadOnly: r.ReadOnly, LeftOpen: r.Open, Blank: r.Blank || r.Epoch == 0, Members: slices.Clone(r.Members),
	}
}

// changed lists the extents, from one on, that a replica misses which is away; of
// monitor 0, those that were changed since the last common generation. A replica
// that is not known here misses all. next is where to go on.
func (v *Volume) changed(away remote.MonitorID, from uint64) (extents []uint32, next uint64, err error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.deleted {
		return nil, 0, remote.NoVolume
	}
	since := uint64(0)
	if away == 0 {
		since = v.stack[0].Common() + 1
	}
	for _, a := range v.record.Away {
		if a.Monitor == away {
			since = a.Since
		}
	}
	set := map[uint32]bool{}
	for _, p := range v.stack {
		err := p.Changed(since, func(first, _ uint64) error {
			set[uint32(first*remote.BlockSize/blockwire.ExtentSize)] = true
			return nil
		})
		if err != nil {
			return nil, 0, outcome(err)
		}
	}
	for e := range set {
		if uint64(e) >= from {
			extents = append(extents, e)
		}
	}
	slices.Sort(extents)
	if len(extents) > blockwire.MaxExtents {
		return extents[:blockwire.MaxExtents], uint64(extents[blockwire.MaxExtents]), nil
	}
	return extents, blockwire.NoExtent, nil
}
