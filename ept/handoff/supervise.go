package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept"
)

// Starter starts a pager, or connects to one, and returns a connection to it.
// When the connection ends the pager must be gone: none of its system calls is running
// or will be. That holds for a process that died (the kernel closes its
// sockets last) and for Serve. Release is called once, after that.
type Starter func(ctx context.Context) (conn *net.UnixConn, release func(), err error)

// Launch is a Starter that starts a command with the connection as descriptor 3.
func Launch(command func() *exec.Cmd) Starter {
	return func(context.Context) (*net.UnixConn, func(), error) {
		conn, theirs, err := socketPair()
		if err != nil {
			return nil, nil, err
		}
		defer theirs.Close()
		cmd := command()
		cmd.ExtraFiles = append([]*os.File{theirs}, cmd.ExtraFiles...)
		if err := cmd.Start(); err != nil {
			conn.Close()
			return nil, nil, fmt.Errorf("start pager: %w", err)
		}
		return conn, func() { cmd.Wait() }, nil
	}
}

// Dial is a Starter that connects to a processor monitor's socket.
func Dial(path string) Starter {
	return func(ctx context.Context) (*net.UnixConn, func(), error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, nil, fmt.Errorf("connect to processor monitor: %w", err)
		}
		return c.(*net.UnixConn), func() {}, nil
	}
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket for pager: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "pager"), os.NewFile(uintptr(fds[1]), "pager's end")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make socket for pager: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}

// Keeper keeps a guest served: when its pager dies, another carries on. Its
// methods are safe for concurrent use.
type Keeper struct {
	guest *Guest
	start Starter
	life  context.Context // until Close
	stop  context.CancelFunc
	done  chan struct{}

	background background

	mu       sync.Mutex
	session  *Session      // guarded by mu
	restarts int           // guarded by mu
	capacity uint64        // guarded by mu; what Resize last set
	err      error         // guarded by mu
	changed  chan struct{} // closed and replaced with each new session; guarded by mu
}

// restartPatience is for how long a pager may fail to start until the vNode is given up.
const restartPatience = 20 * time.Second

// Supervise starts a pager for the guest and returns once it serves. It is
// replaced whenever it dies, until Close. Err says why when that is not possible any more.
func (g *Guest) Supervise(ctx context.Context, start Starter) (*Keeper, error) {
	k := &Keeper{guest: g, start: start, done: make(chan struct{}), changed: make(chan struct{}), capacity: g.attach.Capacity}
	release, err := k.replace(ctx)
	if err != nil {
		return nil, err
	}
	k.life, k.stop = context.WithCancel(context.Background())
	go k.run(k.life, release)
	return k, nil
}

// replace gets a new pager; release is for the time after its end.
func (k *Keeper) replace(ctx context.Context) (release func(), err error) {
	conn, release, err := k.start(ctx)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	capacity := k.capacity
	k.mu.Unlock()
	k.guest.mu.Lock()
	k.guest.attach.Capacity = capacity
	k.guest.mu.Unlock()
	s, err := k.guest.Attach(ctx, conn)
	if err != nil {
		release()
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.session = s
	close(k.changed)
	k.changed = make(chan struct{})
	return release, nil
}

// run waits for the pager's end and replaces it.
func (k *Keeper) run(ctx context.Context, release func()) {
	defer close(k.done)
	for {
		s := k.Session()
		select {
		case <-ctx.Done():
			s.Close()
			release()
			return
		case <-s.Done():
		}
		release()
		var final *Failed
		if err := s.Err(); errors.As(err, &final) {
			k.fail(err)
			return
		}
		var err error
		if release, err = k.retry(ctx); err != nil {
			k.fail(err)
			return
		}
	}
}

// retry replaces the pager, with pauses, until it works or patience ends.
func (k *Keeper) retry(ctx context.Context) (func(), error) {
	var final *Failed
	deadline := time.Now().Add(restartPatience)
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		release, err := k.replace(ctx)
		if err == nil {
			k.mu.Lock()
			k.restarts++
			k.mu.Unlock()
			return release, nil
		}
		if errors.As(err, &final) || ctx.Err() != nil || time.Now().After(deadline) {
			return nil, fmt.Errorf("replace pager: %w", err)
		}
		time.Sleep(pause)
	}
}

func (k *Keeper) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// Session returns the connection to the current pager, which may be gone.
func (k *Keeper) Session() *Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.session
}

// Restarts returns how often the pager was replaced.
func (k *Keeper) Restarts() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.restarts
}

// Done is closed when the guest is not served any more.
func (k *Keeper) Done() <-chan struct{} { return k.done }

// Err says why it is not, nil after Close. It is a *Failed if a line couldn't be
// served. Precondition: Done is closed.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Close ends the pager. VCPUs that still fault sleep until the Guest is closed.
func (k *Keeper) Close() error {
	k.stop()
	<-k.done
	k.background.wg.Wait()
	return nil
}

// Resize is Session.Resize, also for the pagers to come; if the pager dies
// meanwhile, with its successor.
func (k *Keeper) Resize(ctx context.Context, lines uint64) error {
	k.mu.Lock()
	k.capacity = lines
	k.mu.Unlock()
	return k.each(ctx, func(s *Session) error { return s.Resize(ctx, lines) })
}

// Discard is Session.Discard, likewise.
func (k *Keeper) Discard(ctx context.Context, gpa ept.GPA, size uint64) error {
	return k.each(ctx, func(s *Session) error { return s.Discard(ctx, gpa, size) })
}

// Move is Session.Move; if the pager dies meanwhile, its successor begins again.
func (k *Keeper) Move(ctx context.Context, m Move) error {
	return k.each(ctx, func(s *Session) error {
		if k.guest.hasMoved(m) {
			return nil
		}
		return s.Move(ctx, m)
	})
}

// Stats is Session.Stats, likewise. The counters start anew with each pager.
func (k *Keeper) Stats(ctx context.Context) (stats *ept.Stats, err error) {
	err = k.each(ctx, func(s *Session) error {
		var err error
		stats, err = s.Stats(ctx)
		return err
	})
	return stats, err
}

// each calls f with the current session, and again with the next one while f
// finds that the pager is gone.
func (k *Keeper) each(ctx context.Context, f func(*Session) error) error {
	for {
		k.mu.Lock()
		s, changed := k.session, k.changed
		k.mu.Unlock()
		err := f(s)
		if !errors.Is(err, ErrPagerGone) {
			return err
		}
		select {
		case <-changed:
		case <-k.done:
			return err
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}
