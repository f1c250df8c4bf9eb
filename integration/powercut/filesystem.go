package powercut

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"splitvm/integration/rig/debs"
)

// FileSystem is a kind of file system.
type FileSystem struct {
	Name string
	Size int64    // of a disk for it, in bytes
	Make []string // command, to which the device is appended
}

// Ext4 is small and made in no time.
var Ext4 = FileSystem{"ext4", 256 << 20, []string{"mke2fs", "-t", "ext4", "-q", "-F", "-N", "8192", "-E", "lazy_itable_init=0,nodiscard"}}

// XFS is as small as mkfs.xfs makes it.
var XFS = FileSystem{"xfs", 320 << 20, []string{"mkfs.xfs", "-q", "-f", "-K"}}

// Need skips t if the file system's tool is not there.
func (fs FileSystem) Need(t testing.TB) {
	t.Helper()
	if _, err := fs.maker(""); err != nil {
		t.Skipf("needs %s: install %sprogs, or fetch the rig's tools (`make rig`): %v", fs.Make[0], fs.Name, err)
	}
}

// maker is the command that makes the file system: the machine's, or that among
// the rig's tools if they have been fetched.
func (fs FileSystem) maker(device string) (*exec.Cmd, error) {
	args := append(fs.Make[1:len(fs.Make):len(fs.Make)], device)
	_, missing := exec.LookPath(fs.Make[0])
	if missing == nil {
		return exec.Command(fs.Make[0], args...), nil
	}
	cache, err := debs.Open("", io.Discard)
	if err != nil {
		return nil, err
	}
	if tools, ok := cache.CachedTools(); ok {
		return tools.Command(context.Background(), fs.Make[0], args...)
	}
	return nil, missing
}

// format makes it on a device.
func (fs FileSystem) format(device string) error {
	cmd, err := fs.maker(device)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
