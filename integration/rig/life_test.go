package rig_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"splitvm/integration/require"
	"splitvm/integration/rig"
)

// ownerEnv makes the test binary start a machine and wait.
const ownerEnv = "SPLITVM_RIG_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) == "" {
		os.Exit(m.Run())
	}
	_, err := rig.Start(context.Background(), rig.Options{Progress: io.Discard})
	fmt.Println("started:", err)
	time.Sleep(time.Hour)
}

// output runs a script in the machine and returns what it says.
func output(t *testing.T, m *rig.Machine, script string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := rig.Shell(script)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := m.Run(t.Context(), cmd); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return out.String()
}

// A machine's life from boot to panic.
func TestMachineLife(t *testing.T) {
	require.Rig(t)
	m, err := rig.Start(t.Context(), rig.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() // ended by the panic below, if all goes well
	t.Logf("booted in %s", m.Times())
	if m.Hello.NPT != "Y" || !strings.HasPrefix(m.Hello.Kernel, "6.12.") {
		t.Errorf("%+v, want kernel 6.12 with npt", m.Hello)
	}
	t.Run("Copies", func(t *testing.T) { testCopies(t, m) })
	t.Run("ConsoleNoise", func(t *testing.T) { testConsoleNoise(t, m) })
	t.Run("Clock", func(t *testing.T) { testClock(t, m) })
	t.Run("Cancel", func(t *testing.T) { testCancel(t, m) })
	t.Run("Panic", func(t *testing.T) { testPanic(t, m) })
}

func testCopies(t *testing.T, m *rig.Machine) {
	said := output(t, m, "mkdir -p /tmp/d && head -c 30000000 /dev/urandom >/tmp/d/data && sha256sum </tmp/d/data")
	dir := t.TempDir()
	if _, err := m.Pull(t.Context(), "/tmp/d", dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "d/data"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); !strings.HasPrefix(said, got) {
		t.Errorf("%d bytes with sum %s came of those with %s", len(data), got, said)
	}
	if err := m.Push(t.Context(), filepath.Join(dir, "d"), "/tmp/back"); err != nil {
		t.Fatal(err)
	}
	output(t, m, "cmp /tmp/d/data /tmp/back/d/data && rm -r /tmp/d /tmp/back")
}

// Kernel messages and a command's output don't meet.
func testConsoleNoise(t *testing.T, m *rig.Machine) {
	got := output(t, m, `for i in $(seq 200); do echo "<1>rig noise $i" >/dev/kmsg; echo line $i; done`)
	var want strings.Builder
	for i := 1; i <= 200; i++ {
		fmt.Fprintln(&want, "line", i)
	}
	if got != want.String() {
		t.Errorf("%q", got)
	}
}

// The machine's seconds are the host's, however busy the host is.
func testClock(t *testing.T, m *rig.Machine) {
	uptime := func() (inside float64, at time.Time) {
		before := time.Now()
		inside, err := strconv.ParseFloat(strings.Fields(output(t, m, "cat /proc/uptime"))[0], 64)
		if err != nil {
			t.Fatal(err)
		}
		return inside, before.Add(time.Since(before) / 2)
	}
	i0, o0 := uptime()
	output(t, m, "sleep 10")
	i1, o1 := uptime()
	inside, outside := i1-i0, o1.Sub(o0).Seconds()
	if math.Abs(inside-outside) > 1+outside/20 {
		t.Errorf("%.2f s in the machine were %.2f s here", inside, outside)
	}
}

func testCancel(t *testing.T, m *rig.Machine) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := m.Run(ctx, rig.Shell("sleep 4242")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want %v", err, context.DeadlineExceeded)
	}
	output(t, m, "! pgrep -f '^sleep 4242'")
}

func testPanic(t *testing.T, m *rig.Machine) {
	err := m.Run(t.Context(), rig.Shell("echo c >/proc/sysrq-trigger"))
	if err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("%v, want an error with the end of the console", err)
	}
	if err := m.Close(); err == nil {
		t.Error("Close of a machine that died says nothing")
	}
}

// markDisk is where the tests that run in TestAnotherMachine's machines leave what
// outlives these: TestBeforeFailure adds an x, TestMachineFails a y.
const markDisk = "/dev/rig/mark"

// mark adds a sector with a word to the disk and tells what was there.
func mark(t *testing.T, word string) string {
	if !rig.InRig() {
		t.Skip("for TestAnotherMachine")
	}
	disk, err := os.OpenFile(markDisk, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	b := make([]byte, 4096)
	if _, err := disk.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	was, _, _ := strings.Cut(string(b), "\x00")
	copy(b, was+word)
	if _, err := disk.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return was
}

func TestBeforeFailure(t *testing.T) { mark(t, "x") }

func TestMachineFails(t *testing.T) {
	if was := mark(t, "y"); was != "x" {
		return
	}
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
	select {}
}

// What had not ended when a machine failed runs in another one, and nothing else.
func TestAnotherMachine(t *testing.T) {
	require.Rig(t)
	disk := filepath.Join(t.TempDir(), "mark")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := rig.RunTests(t.Context(), rig.Tests{
		Package: "splitvm/integration/rig", Run: "^(TestBeforeFailure|TestMachineFails)$", Output: &out, Splitvm: rig.NoSplitvm,
		Options: rig.Options{Disks: []rig.Disk{{Path: disk, Serial: "mark"}}}, Timeout: 5 * time.Minute,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	marks, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.TrimRight(marks, "\x00")); got != "xyy" {
		t.Errorf("tests ran as %q, want xyy\n%s", got, &out)
	}
	for _, want := range []string{"--- PASS: TestBeforeFailure", "sysrq triggered crash", "run in another machine", "--- PASS: TestMachineFails"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%q should be there once:\n%s", want, &out)
		}
	}
}

// A machine ends with the context of its start, before and after it is up.
func TestStartCancelled(t *testing.T) {
	require.Rig(t)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	console := writerFunc(func(p []byte) (int, error) { cancel(enough); return len(p), nil })
	if m, err := rig.Start(ctx, rig.Options{Console: console, Cmdline: "ignore_loglevel"}); !errors.Is(err, enough) {
		t.Errorf("%v, %v; want %v", m, err, enough)
	}
	if left := children(t, os.Getpid()); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A process that is killed takes its machine with it, and leaves no file.
func TestOwnerKilled(t *testing.T) {
	require.Rig(t)
	have, err := rig.Fetch(t.Context(), openCache(t))
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Dir(filepath.Dir(filepath.Dir(have.Image)))
	before := names(t, cache)
	tmp := t.TempDir()
	owner := exec.CommandContext(t.Context(), os.Args[0])
	owner.Env = append(os.Environ(), ownerEnv+"=1", "TMPDIR="+tmp)
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer owner.Process.Kill()
	qemu := awaitChild(t, owner.Process.Pid, "qemu-system-x86_64")
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // killed
	for deadline := time.Now().Add(30 * time.Second); syscall.Kill(qemu, 0) == nil && running(qemu); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("QEMU (process %d) outlived its owner", qemu)
		}
	}
	if left := names(t, tmp); left != "" {
		t.Errorf("left in TMPDIR: %s", left)
	}
	if after := names(t, cache); after != before {
		t.Errorf("the cache had %s, and now has %s", before, after)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

// awaitChild waits for a process with a word in its command line among the
// children of parent.
func awaitChild(t *testing.T, parent int, word string) int {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, pid := range children(t, parent) {
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.Contains(line, []byte(word)) {
				return pid
			}
		}
	}
	t.Fatalf("no child of %d with %s in its command line", parent, word)
	return 0
}

// children lists the processes that a process started and that run.
func children(t *testing.T, parent int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // state, parent
		if string(fields[0]) != "Z" && string(fields[1]) == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pid)
		}
	}
	return out
}

// running tells whether a process is there and not a zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}
