package rawfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func openFile(c Config) (*os.File, error) {
	flags := os.O_RDWR
	if c.ReadOnly {
		flags = os.O_RDONLY
	}
	if c.Direct {
		flags |= unix.O_DIRECT
	}
	if st, err := os.Stat(c.Path); err == nil && st.Mode()&os.ModeDevice != 0 && !c.ReadOnly {
		flags |= unix.O_EXCL // a device that is mounted or otherwise in use says EBUSY
	}
	f, err := os.OpenFile(c.Path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EINVAL) && c.Direct:
		return nil, fmt.Errorf("the file system has no direct I/O; use the writeback cache mode: %w", err)
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("the device is in use, perhaps mounted; see lsblk, or open it read-only: %w", err)
	case errors.Is(err, fs.ErrPermission) && !c.ReadOnly:
		return nil, fmt.Errorf("%w; give write permission, or open it read-only", errors.Unwrap(err))
	case err != nil:
		return nil, errors.Unwrap(err) // without the path, which Open names
	}
	return f, nil
}

// lockPatience covers udev, which locks a block device for a moment when it
// was written.
const lockPatience = time.Second

// lock takes the file for us: for writing alone, for reading with others that
// read. The lock goes with the file's last descriptor, so with the process.
func lock(f *os.File, readOnly bool) error {
	how := unix.LOCK_EX
	if readOnly {
		how = unix.LOCK_SH
	}
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err == unix.EINTR:
		case err != unix.EWOULDBLOCK:
			return fmt.Errorf("lock it: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("in use by %s; stop that first, or copy the disk", holder(f))
		}
	}
}

// holder names the process that has f locked, as well as /proc tells.
func holder(f *os.File) string {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return "another process"
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return "another process"
	}
	// 1: FLOCK  ADVISORY  WRITE 4242 fd:00:1234 0 EOF (proc_pid_locks(5))
	object := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for s := bufio.NewScanner(bytes.NewReader(locks)); s.Scan(); {
		if w := strings.Fields(s.Text()); len(w) > 5 && w[1] == "FLOCK" && w[5] == object {
			comm, _ := os.ReadFile("/proc/" + w[4] + "/comm")
			return fmt.Sprintf("process %s (%s)", w[4], strings.TrimSpace(string(comm)))
		}
	}
	return "another process"
}
