package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of locks.
const (
	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
)

// errLocked is wrapped by the error of tryLock if another has the lock.
var errLocked = errors.New("in use")

const lockPoll = 20 * time.Millisecond

// Lock is a lock of a file.
type Lock struct{ f *os.File }

// Close gives the lock back. A second Close does nothing.
func (l *Lock) Close() error {
	if l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	return f.Close()
}

// lock locks the file, which it makes, and waits for it until ctx is done.
func lock(ctx context.Context, path string, kind int) (*Lock, error) {
	for {
		l, err := tryLock(path, os.O_RDWR|os.O_CREATE, kind)
		if !errors.Is(err, errLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another splitvm that has %s: %w", path, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// tryLock locks the file if nobody has a lock against it. It never has the lock
// of a file that lost its name meanwhile.
func tryLock(path string, flags, kind int) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, flags, 0o644)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), kind|unix.LOCK_NB)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), kind|unix.LOCK_NB)
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w", path, errLocked)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if same(f, path) {
			return &Lock{f}, nil
		}
		f.Close()
	}
}

// same tells whether the file still has the name.
func same(f *os.File, path string) bool {
	a, aerr := f.Stat()
	b, berr := os.Stat(path)
	return aerr == nil && berr == nil && os.SameFile(a, b)
}
