package blockclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
)

// tendEvery is how often replicas that are away are looked at without a reason.
const tendEvery = 200 * time.Millisecond

// tend brings replicas back that are away and connected, until ctx ends.
func (v *Volume) tend(ctx context.Context) {
	if v.readOnly {
		return
	}
	t := time.NewTicker(tendEvery)
	defer t.Stop()
	for {
		select {
		case <-v.arrived:
		case <-t.C:
		case <-ctx.Done():
			return
		}
		v.mu.Lock()
		back := v.in(func(r *replica) bool { return r.state == away && r.conn != nil && !r.cutting && !r.retiring })
		v.mu.Unlock()
		for _, r := range back {
			if err := v.join(ctx, r); err != nil && ctx.Err() == nil {
				v.cfg.Log.Warn("replica can't join", "volume", v.cfg.Name, "monitor", r.address, "err", err)
			}
		}
	}
}

// join brings a replica up to date and makes it a member.
func (v *Volume) join(ctx context.Context, r *replica) error {
	began := time.Now()
	if err := v.admit(ctx, r); err != nil {
		return fmt.Errorf("claim it: %w", err)
	}
	if err := v.settleChanges(ctx); err != nil {
		return v.reject(r, err)
	}
	extents, err := v.missing(ctx, r)
	if err != nil {
		return v.reject(r, fmt.Errorf("find out what it misses: %w", err))
	}
	buf := make([]byte, blockwire.ExtentSize)
	for _, e := range extents {
		if err := v.copyExtent(ctx, r, e, buf); err != nil {
			return v.reject(r, fmt.Errorf("copy extent %d: %w", e, err))
		}
	}
	if err := v.do(ctx, &Request{Op: blockwire.Flush, only: r}); err != nil {
		return v.reject(r, fmt.Errorf("flush: %w", err))
	}
	if err := v.voteIn(ctx, r); err != nil {
		return v.reject(r, fmt.Errorf("vote: %w", err))
	}
	if err := v.do(ctx, &Request{Op: blockwire.Flush}); err != nil { // see voteIn
		return fmt.Errorf("flush when it is a member: %w", err)
	}
	v.cfg.Log.Info("replica is a member again", "volume", v.cfg.Name, "monitor", r.address, "extents", len(extents), "took", time.Since(began))
	return nil
}

// reject gives up a join.
func (v *Volume) reject(r *replica, err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.rejected = err
	if r.state == joining {
		r.state = away
		r.cut() // and takeDown drops what it has
	}
	return err
}

// admit claims the replica, as one that is away, and has it get all changes from
// now on.
func (v *Volume) admit(ctx context.Context, r *replica) error {
	claimed := make(chan error, 1)
	v.mu.Lock()
	if v.voting || r.state != away || r.conn == nil || r.retiring {
		v.mu.Unlock()
		return remote.Busy
	}
	members := v.in(func(o *replica) bool { return o.state == member })
	v.claim([]*replica{r}, v.ballot(members), func(finished []*Request, err error) []*Request {
		if err == nil && r.conn != nil && !r.cutting && r.state == away {
			r.state = joining
		} else if err == nil {
			err = remote.Disconnected
		}
		claimed <- err
		return finished
	})
	v.mu.Unlock()
	v.drain()
	select {
	case err := <-claimed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settleChanges waits until all changes that did not go to the replica that joins
// are done.
func (v *Volume) settleChanges(ctx context.Context) error {
	v.mu.Lock()
	now := v.seq
	v.mu.Unlock()
	return v.until(ctx, func() bool { return v.oldestChange() > now })
}

// until waits for a condition, which is asked with mu held.
func (v *Volume) until(ctx context.Context, is func() bool) error {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		v.mu.Lock()
		ok, fatal := is(), v.fatal
		v.mu.Unlock()
		switch {
		case ok:
			return nil
		case fatal != nil:
			return fatal
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// missing lists the extents that the replica may miss, or that it has changed
// itself and nobody else.
func (v *Volume) missing(ctx context.Context, r *replica) ([]uint32, error) {
	v.mu.Lock()
	sources := v.in(func(o *replica) bool { return o.state == member && o.conn != nil })
	blank := r.opened.Blank
	v.mu.Unlock()
	if len(sources) == 0 {
		return nil, remote.Disconnected
	}
	missing := r.opened.Monitor
	if blank {
		missing = blockwire.Nobody // and not what was there earlier under this id
	}
	theirs, err := v.changedAt(ctx, sources[0], missing)
	if err != nil {
		return nil, err
	}
	own, err := v.changedAt(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	all := append(theirs, own...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (v *Volume) changedAt(ctx context.Context, at *replica, away remote.MonitorID) ([]uint32, error) {
	var all []uint32
	q := blockwire.ChangedRequest{Away: away}
	for from := uint64(0); from != blockwire.NoExtent; {
		r := &Request{Op: blockwire.Changed, Offset: from, meta: q.Append(nil), only: at}
		if err := v.do(ctx, r); err != nil {
			return nil, err
		}
		if r.replyAt <= from && r.replyAt != blockwire.NoExtent {
			return nil, errAnswer
		}
		all = append(all, blockwire.Extents(r.reply)...)
		from = r.replyAt
	}
	return all, nil
}

// copyExtent copies an extent from a member while changes to it wait.
func (v *Volume) copyExtent(ctx context.Context, r *replica, extent uint32, buf []byte) error {
	off := uint64(extent) * blockwire.ExtentSize
	if off >= v.size {
		return nil
	}
	n := min(blockwire.ExtentSize, v.size-off)
	v.mu.Lock()
	v.copying = uint64(extent)
	now := v.seq
	v.mu.Unlock()
	defer v.release()
	err := v.until(ctx, func() bool { return !v.changing(uint64(extent), now) })
	if err != nil {
		return err
	}
	read := &Request{Op: blockwire.Read, Offset: off, Length: n, Memory: [][]byte{buf[:n]}}
	if err := v.do(ctx, read); err != nil {
		return err
	}
	write := &Request{Op: blockwire.Write, Offset: off, Length: n, Memory: read.Memory, only: r}
	if allZero(buf[:n]) {
		write = &Request{Op: blockwire.Zeroes, Offset: off, Length: n, only: r}
	}
	return v.do(ctx, write)
}

func allZero(b []byte) bool { return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }

// changing tells whether a change to the extent that was submitted before is not
// done. Preconditions: mu is held.
func (v *Volume) changing(extent, before uint64) bool {
	for r := v.open.head; r != nil && r.seq <= before; r = r.next {
		if r.changes() && r.only == nil && r.overlaps(extent) {
			return true
		}
	}
	return false
}

// release lets the changes go on that waited for copyExtent.
func (v *Volume) release() {
	v.mu.Lock()
	v.copying = noCopy
	held := v.held
	v.held = nil
	var done []*Request
	for _, r := range held {
		if r.open {
			done = v.route(done, r)
		}
	}
	v.mu.Unlock()
	call(done)
	v.drain()
}

// voteIn makes a replica that has everything a member. It counts from when the
// vote is sent: before that is on its disk, no other may take it for one. What was
// done, durable or flushed since its flush without waiting for it need not be on
// its disk before the next flush.
func (v *Volume) voteIn(ctx context.Context, r *replica) error {
	voted := make(chan error, 1)
	v.mu.Lock()
	if v.voting || r.state != joining {
		v.mu.Unlock()
		return remote.Busy
	}
	r.state = member
	v.changed++ // if its host is restarted, it has lost something
	members := v.in(func(o *replica) bool { return o.state == member })
	v.voting = true
	v.flushed = nil // without this replica's generations
	v.epoch++
	v.claim(members, v.ballot(members), func(finished []*Request, err error) []*Request {
		v.voting = false
		if err != nil {
			v.voteOut(r)
		}
		voted <- err
		return finished
	})
	v.mu.Unlock()
	v.drain()
	select {
	case err := <-voted:
		return err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), remote.Cancelled)
	}
}
