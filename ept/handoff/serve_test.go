package handoff_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept"
	"splitvm/ept/guesttest"
	"splitvm/ept/handoff"
	"splitvm/integration/require"
)

// pair returns two ends of a unix socket: one for Serve, one for the guest.
func pair(t testing.TB) (*net.UnixConn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine := os.NewFile(uintptr(fds[0]), "pager")
	defer mine.Close()
	conn, err := net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.UnixConn), os.NewFile(uintptr(fds[1]), "guest")
}

// runGuest runs a guest served by a pager in this process.
func runGuest(t testing.TB, spec guesttest.Spec) guesttest.Result {
	t.Helper()
	conn, theirs := pair(t)
	cmd, err := spec.Command(theirs)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- handoff.Serve(context.Background(), conn, handoff.Remote{Log: slog.New(slog.DiscardHandler)})
	}()
	r := runCommand(t, cmd, nil)
	theirs.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	return r
}

// runAlone runs a guest that starts its own pagers.
func runAlone(t testing.TB, spec guesttest.Spec) guesttest.Result {
	t.Helper()
	return runWith(t, spec, nil)
}

// runWith is runAlone that calls at for the points that the guest comes to.
func runWith(t testing.TB, spec guesttest.Spec, at func(string)) guesttest.Result {
	t.Helper()
	spec.Launch = true
	cmd, err := spec.Command()
	if err != nil {
		t.Fatal(err)
	}
	return runCommand(t, cmd, at)
}

func runCommand(t testing.TB, cmd *exec.Cmd, at func(string)) guesttest.Result {
	t.Helper()
	timer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if at == nil {
		at = func(string) {}
	}
	r, err := guesttest.Run(cmd, at)
	if err != nil {
		t.Fatalf("guest: %v", err)
	}
	return r
}

func stats(t testing.TB, r guesttest.Result) ept.Stats {
	t.Helper()
	var s ept.Stats
	if err := json.Unmarshal(r.Stats, &s); err != nil {
		t.Fatalf("no counters from the pager: %v", err)
	}
	return s
}

func check(t testing.TB, r guesttest.Result) {
	t.Helper()
	if r.Error != "" {
		t.Errorf("guest ended early: %s", r.Error)
	}
	if r.Bad != 0 {
		t.Errorf("%d wrong words, first: %s", r.Bad, r.First)
	}
}

func TestGuestVerifies(t *testing.T) {
	require.UFFD(t)
	addr := startMonitor(t, 64<<20)
	r := runGuest(t, guesttest.Spec{Pages: 4096, RegionLines: 1024, Shards: 1, Capacity: 1024, Monitors: []string{addr}, Session: 1,
		Work: "verify", Threads: 2, Ops: 20000, Writes: 40, Seed: 1})
	check(t, r)
	s := stats(t, r)
	t.Logf("%d accesses in %v: %+v", r.Accesses, time.Duration(r.Nanos), s)
}

// TestPagerIsKilled kills pager after pager under a guest that verifies what it
// reads: each carries on where the last one was torn away.
func TestPagerIsKilled(t *testing.T) {
	require.UFFD(t)
	addr := startMonitor(t, 64<<20)
	r := runAlone(t, guesttest.Spec{Pages: 8192, RegionLines: 1024, Shards: 2, Capacity: 1024, Monitors: []string{addr}, Session: 1,
		Work: "verify", Threads: 4, Duration: 10 * time.Second, Writes: 40, Seed: 2, Launch: true, KillEvery: 40 * time.Millisecond, Pagers: 20,
		Resize: []uint64{512, 2048, 300, 1024}, Every: 50 * time.Millisecond})
	check(t, r)
	t.Logf("%d accesses, %d pagers", r.Accesses, r.Pagers)
}
