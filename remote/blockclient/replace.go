package blockclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"splitvm/remote"
)

// Replace moves the replica at one storage monitor to another, to, which has a
// volume of the same name, id and size: that is brought up to date and made a
// member, and then the one at from is voted out. Requests go on meanwhile. The
// caller waits for it before Close, and calls it once at a time.
//
// Where it ends early, the replicas that are members hold everything, and both may
// be; called again, it goes on from there. Who opens the volume next must be given
// both addresses then. With an error that is ErrNotJoined the one at to is none, and
// will not become one.
func (v *Volume) Replace(ctx context.Context, from, to string) error {
	err := v.vacate(ctx, to)
	var r *replica
	if err == nil {
		r, err = v.enlist(to)
	}
	if err == nil {
		err = v.welcome(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("volume %q: bring %s up to date: %w", v.cfg.Name, to, err)
	}
	old := v.at(from)
	if old == nil {
		return nil
	}
	if err := v.retire(ctx, old, r); err != nil {
		return fmt.Errorf("volume %q: do without %s: %w", v.cfg.Name, from, err)
	}
	return nil
}

// Withdraw ends a move by Replace that was interrupted, or never begun, the other way
// round: the replica at to is none any more, which is ErrNotJoined, and the one at from
// goes on. Where that one has been voted out already, it is nil: the volume has moved.
func (v *Volume) Withdraw(ctx context.Context, from, to string) error {
	old, r := v.at(from), v.at(to)
	if r == nil {
		return fmt.Errorf("volume %q: %w: the move to %s was cancelled", v.cfg.Name, ErrNotJoined, to)
	}
	if old == nil {
		return v.Replace(ctx, from, to)
	}
	err := v.retire(ctx, r, old)
	switch {
	case errors.Is(err, errSuccessor): // the new one may have what the old one has not
		return v.Replace(ctx, from, to)
	case err != nil:
		return fmt.Errorf("volume %q: do without %s: %w", v.cfg.Name, to, err)
	}
	return fmt.Errorf("volume %q: %w: the move to %s was cancelled", v.cfg.Name, ErrNotJoined, to)
}

// ErrNotJoined is that the replica which was to be a new one can't be.
var ErrNotJoined = errors.New("it is no replica")

var errSuccessor = errors.New("the new replica was lost before that: this tries again")

// at returns the replica at an address, nil if there is none.
func (v *Volume) at(address string) *replica {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.replicas {
		if r.address == address {
			return r
		}
	}
	return nil
}

// vacate forgets a replica at an address that is away and can't be used: another monitor
// may be there now, instead of the one that was lost.
func (v *Volume) vacate(ctx context.Context, address string) error {
	r := v.at(address)
	if r == nil {
		return nil
	}
	v.mu.Lock()
	stale := r.state == away && r.conn == nil
	v.mu.Unlock()
	if !stale {
		return nil
	}
	return v.retire(ctx, r, nil)
}

// enlist adds a replica that is away, unless it is there. tend brings it back.
func (v *Volume) enlist(address string) (*replica, error) {
	if v.readOnly {
		return nil, remote.ReadOnly
	}
	if r := v.at(address); r != nil {
		return r, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fatal != nil {
		return nil, v.fatal
	}
	index := 0
	for slices.ContainsFunc(v.replicas, func(r *replica) bool { return r.index == index }) {
		index++
	}
	if index == MaxReplicas {
		return nil, fmt.Errorf("%w: the volume has %d already, the most that there can be while one is replaced too", ErrNotJoined, MaxReplicas)
	}
	r := newReplica(v, index, address)
	r.state = away
	v.common[index] = 0
	v.replicas = append(slices.Clone(v.replicas), r)
	r.start(v.running, v.writing)
	return r, nil
}

// welcome waits until a replica is a member, and takes it away again if it can't be.
func (v *Volume) welcome(ctx context.Context, r *replica) error {
	var failed error
	err := v.until(ctx, func() bool {
		switch {
		case r.state == member:
			return true
		case r.rejected != nil:
			failed = r.rejected
		case r.conn == nil && r.failure != nil && time.Since(r.since) > v.cfg.Grace:
			failed = r.failure
		}
		return failed != nil
	})
	if err == nil && failed == nil {
		return nil
	}
	// Not ctx: it may be over.
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if rerr := v.retire(soon, r, nil); rerr != nil {
		return errors.Join(err, failed, rerr)
	}
	return fmt.Errorf("%w: %w", ErrNotJoined, errors.Join(err, failed))
}

// retire has the others go on without a replica for good, and forgets it. If it has
// a successor, that has to be a member.
func (v *Volume) retire(ctx context.Context, r, successor *replica) error {
	v.mu.Lock()
	r.retiring = true // tend leaves it alone
	v.mu.Unlock()
	var lost error
	err := v.until(ctx, func() bool {
		switch {
		case r.state == away:
			return true
		case successor != nil && successor.state != member:
			lost = errSuccessor
		case r.state == member:
			v.voteOut(r)
		case r.state == joining:
			r.cut()
		}
		return lost != nil
	})
	if err = errors.Join(err, lost); err != nil {
		v.mu.Lock()
		r.retiring = false
		v.mu.Unlock()
		return err
	}
	r.end()
	v.mu.Lock()
	r.gone = true
	done := v.drop(nil, r)
	v.replicas = slices.DeleteFunc(slices.Clone(v.replicas), func(o *replica) bool { return o == r })
	v.mu.Unlock()
	call(done)
	return nil
}

// start starts the replica's goroutines.
func (r *replica) start(run, writing context.Context) {
	run, r.stop = context.WithCancel(run)
	writing, r.stopWriter = context.WithCancel(writing)
	r.ended, r.silent = make(chan struct{}), make(chan struct{})
	r.v.wg.Go(func() {
		defer close(r.ended)
		r.run(run)
	})
	r.v.writers.Go(func() {
		defer close(r.silent)
		r.write(writing)
	})
}

// end ends them. Nothing is given to the replica any more.
func (r *replica) end() {
	r.stop()
	r.v.mu.Lock()
	r.cut()
	r.v.mu.Unlock()
	<-r.ended
	r.stopWriter()
	<-r.silent
}
