package uffd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// File is a userfaultfd. Its methods may be called concurrently; Close only
// when no other call is under way.
type File struct {
	fd int
}

// Open returns a userfaultfd for the memory of this process, from
// /dev/userfaultfd if that may be opened, else by the system call. It also gets
// faults that the kernel takes for the process (KVM, read and write calls).
// The error says what to change.
func Open() (*File, error) {
	fd, devErr := openDevice()
	if devErr == nil {
		return &File{fd}, nil
	}
	n, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	switch errno {
	case 0:
		return &File{int(n)}, nil
	case unix.EPERM:
		return nil, fmt.Errorf("open userfaultfd: %w (device: %w): give this user access to /dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd=1", errno, devErr)
	case unix.ENOSYS:
		return nil, fmt.Errorf("open userfaultfd: %w: the kernel needs CONFIG_USERFAULTFD: %w", errno, ErrNotSupported)
	default:
		return nil, fmt.Errorf("open userfaultfd: %w", errno)
	}
}

func openDevice() (int, error) {
	dev, err := os.OpenFile("/dev/userfaultfd", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer dev.Close()
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, dev.Fd(), ioctlNew, unix.O_CLOEXEC|unix.O_NONBLOCK)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// FromFD takes over a descriptor that another process opened, agreed upon and
// registered. It must be a userfaultfd: the error says so if it isn't.
func FromFD(fd int) (*File, error) {
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("look at descriptor %d: %w", fd, err)
	}
	if link != "anon_inode:[userfaultfd]" {
		return nil, fmt.Errorf("descriptor %d is %s, not a userfaultfd", fd, link)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("set descriptor %d non-blocking: %w", fd, err)
	}
	return &File{fd}, nil
}

// FD returns the descriptor, which stays the File's.
func (f *File) FD() int { return f.fd }

// Close closes the descriptor. The kernel unregisters the ranges when the last
// process that has it closes it: sleepers wake, and missing pages are zero from then on.
func (f *File) Close() error { return unix.Close(f.fd) }

// Handshake agrees with the kernel on the interface. It must be the first call
// and can be made only once. The error is a *MissingError if a feature is
// not there; that is checked on a second userfaultfd, as the kernel doesn't tell
// after a refusal.
func (f *File) Handshake(need Features) error {
	_, err := f.api(need)
	if !errors.Is(err, unix.EINVAL) {
		return wrap("agree on userfaultfd features", err)
	}
	offered, probeErr := Offered()
	if probeErr != nil {
		return wrap("agree on userfaultfd features", err)
	}
	if lack := missing(offered, need); lack != nil {
		return lack
	}
	return wrap("agree on userfaultfd features", err)
}

// Offered returns the features that this kernel has.
func Offered() (Features, error) {
	probe, err := Open()
	if err != nil {
		return 0, err
	}
	defer probe.Close()
	offered, err := probe.api(0)
	return offered, wrap("ask for userfaultfd features", err)
}

// Wait blocks until an event can be read, or until stop, another descriptor,
// becomes readable; it tells which. It blocks the thread, not just the goroutine:
// the caller should have locked it. Also returns for a descriptor that the
// kernel gave up on (error of kind EBADF).
func (f *File) Wait(stop int) (stopped bool, err error) {
	fds := [2]unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds[:], -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false, wrap("wait for userfaultfd events", err)
		case fds[1].Revents != 0:
			return true, nil
		case fds[0].Revents&unix.POLLIN != 0:
			return false, nil
		default:
			return false, wrap("wait for userfaultfd events", unix.EBADF)
		}
	}
}

// SetBlocking says whether Reader.Read waits for an event, on all descriptors of
// this userfaultfd: the state is the kernel's. The kernel lets nobody wait for a
// blocking one with Wait. A Read that waits notices the change when its thread
// gets a signal.
func (f *File) SetBlocking(block bool) error {
	return wrap("set userfaultfd blocking", unix.SetNonblock(f.fd, !block))
}

// wrap adds the operation to an error of the kernel; nil stays nil.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}
