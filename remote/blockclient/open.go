package blockclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
)

// openTimeout is how long Open waits for replicas that are not there.
const openTimeout = 5 * time.Second

// goneTime is how long the monitors may take to notice that the writer before has
// gone.
const goneTime = time.Second

// Open opens a volume. Unless it is read-only, the caller is its writer until
// Close, or until another one steals it.
func Open(ctx context.Context, cfg Config) (*Volume, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	v := &Volume{cfg: cfg, session: newSession(), arrived: make(chan struct{}, 1), copying: noCopy}
	run, stop := context.WithCancel(context.Background())
	writing, stopWriters := context.WithCancel(context.Background())
	v.stop, v.stopWriters = stop, stopWriters
	v.running, v.writing = run, writing
	for i, address := range cfg.Monitors {
		v.replicas = append(v.replicas, newReplica(v, i, address))
	}
	for _, r := range v.replicas {
		r.start(run, writing)
	}
	v.wg.Go(func() { v.watch(run) })
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := v.begin(ctx); err != nil {
		v.abort()
		return nil, fmt.Errorf("open volume %q: %w", cfg.Name, err)
	}
	v.wg.Go(func() { v.tend(run) })
	return v, nil
}

// begin waits for the replicas, decides which count and claims the volume.
func (v *Volume) begin(ctx context.Context) error {
	members, err := v.await(ctx)
	if err != nil {
		return err
	}
	v.mu.Lock()
	first := members[0].opened
	v.id, v.size = first.Volume, first.Size
	v.readOnly = v.cfg.ReadOnly || first.ReadOnly
	if v.readOnly {
		v.elect(members)
		v.mu.Unlock()
		return nil
	}
	for _, r := range v.replicas {
		v.epoch = max(v.epoch, r.opened.Epoch)
	}
	v.epoch++
	v.mu.Unlock()
	for began := time.Now(); ; time.Sleep(tick) {
		err := v.claimFirst(ctx, members)
		switch {
		case remote.KindOf(err) != remote.Busy:
			return err
		case time.Since(began) > goneTime:
			return fmt.Errorf("%w; stop that first", err)
		}
	}
}

// claimFirst claims the volume at those which are to be its members.
func (v *Volume) claimFirst(ctx context.Context, members []*replica) error {
	claimed := make(chan error, 1)
	v.mu.Lock()
	v.claim(members, v.ballot(members), func(finished []*Request, err error) []*Request {
		if err == nil {
			v.elect(members)
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
		return fmt.Errorf("claim it: %w", ctx.Err())
	}
}

// elect makes replicas the members and all others away. Preconditions: mu is held.
func (v *Volume) elect(members []*replica) {
	for _, r := range v.replicas {
		r.state = away
		if slices.Contains(members, r) {
			r.state = member
		}
	}
}

// await waits until enough replicas are there.
func (v *Volume) await(ctx context.Context) ([]*replica, error) {
	for {
		v.mu.Lock()
		all := !slices.ContainsFunc(v.replicas, func(r *replica) bool { return r.conn == nil })
		members, err := v.decide(all) // there is nobody to wait for
		v.mu.Unlock()
		if err == nil || all {
			return members, err
		}
		select {
		case <-v.arrived:
		case <-ctx.Done():
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.decide(true)
		}
	}
}

var errMembers = errors.New("start the monitors that are missing; a rack goes on without one that is lost for good after `splitvm monitor rm` of it")

// decide picks the replicas that hold all of the volume. With late it makes do
// with what is there, if that is allowed. Preconditions: mu is held.
func (v *Volume) decide(late bool) ([]*replica, error) {
	here, newest, complete, err := v.poll()
	switch {
	case err != nil:
		return nil, err
	case !complete && !(late && (v.cfg.Degraded || v.cfg.ReadOnly)):
		return nil, fmt.Errorf("not all of its members can be reached (%s): %w", v.whereabouts(), errMembers)
	case newest.LeftOpen && len(here) > 1 && !v.cfg.ReadOnly:
		here = here[:1] // they may differ in what was under way: the others join
	}
	return here, nil
}

// poll finds the replicas that count as far as those know which are there, the newest
// record, and whether all that count by it are there. Preconditions: mu is held.
func (v *Volume) poll() (here []*replica, newest blockwire.Opened, complete bool, err error) {
	here = v.in(func(r *replica) bool { return r.conn != nil })
	if len(here) == 0 {
		return nil, newest, false, v.nobody()
	}
	newest = here[0].opened
	for _, r := range here {
		if r.opened.Volume != here[0].opened.Volume || r.opened.Size != here[0].opened.Size {
			return nil, newest, false, fmt.Errorf("%w: %s and %s have different volumes of this name", remote.Range, r.address, here[0].address)
		}
		if r.opened.Epoch > newest.Epoch {
			newest = r.opened
		}
	}
	if newest.Epoch == 0 {
		return here, newest, len(here) == len(v.replicas), nil
	}
	complete = true
	for _, id := range newest.Members {
		complete = complete && slices.ContainsFunc(here, func(r *replica) bool { return r.opened.Monitor == id })
	}
	if here = slices.DeleteFunc(here, func(r *replica) bool { return !counts(r, newest) }); len(here) == 0 {
		return nil, newest, false, fmt.Errorf("none of its members can be reached (%s): %w", v.whereabouts(), errMembers)
	}
	return here, newest, complete, nil
}

// counts tells whether a replica is a member under the newest epoch.
func counts(r *replica, newest blockwire.Opened) bool {
	return r.opened.Epoch == newest.Epoch && (slices.Contains(newest.Members, r.opened.Monitor) || len(newest.Members) == 0)
}

// nobody is why no replica is there. Preconditions: mu is held.
func (v *Volume) nobody() error {
	var errs []error
	for _, r := range v.replicas {
		err := r.failure
		if err == nil {
			err = fmt.Errorf("%w: no answer from %s", remote.Timeout, r.address)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// closeTimeout is how long Close waits for monitors.
const closeTimeout = 5 * time.Second

// Close flushes the volume and gives it back. No request may be under way.
func (v *Volume) Close() error {
	defer v.abort()
	if v.readOnly {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := v.do(ctx, &Request{Op: blockwire.Flush}); err != nil {
		return fmt.Errorf("close volume %q: %w", v.cfg.Name, err)
	}
	v.mu.Lock()
	members := v.in(func(r *replica) bool { return r.state == member })
	q := v.ballot(members)
	q.Closed = true
	closed := make(chan error, 1)
	v.claim(members, q, func(finished []*Request, err error) []*Request {
		closed <- err
		return finished
	})
	v.mu.Unlock()
	v.drain()
	select {
	case err := <-closed:
		if err != nil {
			return fmt.Errorf("close volume %q: %w", v.cfg.Name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close volume %q: %w", v.cfg.Name, ctx.Err())
	}
}

// abort cuts all connections, fails what is left and waits for all goroutines.
func (v *Volume) abort() {
	v.mu.Lock()
	done := v.fail(nil, remote.Closed)
	v.mu.Unlock()
	call(done)
	v.stop()
	v.wg.Wait()
	v.stopWriters()
	v.writers.Wait()
	v.mu.Lock()
	done = nil
	for r := v.open.head; r != nil; r = v.open.head {
		done = v.finish(done, r, v.fatal)
	}
	v.mu.Unlock()
	call(done)
}

// do submits a request and waits for it. When ctx ends first, the request's
// memory stays the client's until its deadline.
func (v *Volume) do(ctx context.Context, r *Request) error {
	done := make(chan struct{})
	r.Done = func(*Request) { close(done) }
	v.queue(r, time.Now().Add(v.cfg.Timeout))
	v.drain()
	select {
	case <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}
