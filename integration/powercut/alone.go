package powercut

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/require"
)

const aloneEnv = "SPLITVM_POWERCUT_ALONE"

// Alone runs the test that calls it once more, in a process of its own with a
// mount namespace and a process namespace of its own: in there it returns the
// test's directory, in memory, that ends with the process, as all that it mounts
// and starts does. Outside it fails t if that one failed, and returns "". The test
// is skipped where disks can't be had.
func Alone(t *testing.T) (dir string) {
	t.Helper()
	if dir := os.Getenv(aloneEnv); dir != "" {
		if err := unix.Mount("powercut", dir, "tmpfs", 0, "mode=0700"); err != nil {
			t.Fatalf("mount %s: %v", dir, err)
		}
		return dir
	}
	if out, err := Again(t); err != nil {
		t.Errorf("in its namespace: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("\n%s", out)
	}
	return ""
}

// Again runs the test that calls it as Alone does, with more environment, and
// returns what it wrote and how it ended.
func Again(t *testing.T, env ...string) (out []byte, err error) {
	t.Helper()
	require.Disks(t)
	runtime.LockOSThread() // whose death is the other one's
	defer runtime.UnlockOSThread()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+regexp.QuoteMeta(t.Name())+"$", "-test.count=1", "-test.timeout", left(t).String())
	if testing.Verbose() {
		cmd.Args = append(cmd.Args, "-test.v")
	}
	cmd.Env = append(append(os.Environ(), aloneEnv+"="+dir, "TMPDIR="+dir), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err = cmd.Run()
	return b.Bytes(), err
}

// left is how long t may take.
func left(t *testing.T) time.Duration {
	if end, ok := t.Deadline(); ok {
		return max(time.Until(end)*9/10, time.Second)
	}
	return 0
}
