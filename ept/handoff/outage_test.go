package handoff_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"splitvm/ept/guesttest"
	"splitvm/integration/require"
	"splitvm/remote"
	"splitvm/remote/client"
)

// TestMonitorDies: the only owner of the memory dies. The guest doesn't hang: its
// vNode is stopped with an error that names the vRegion, its owner and what to do.
func TestMonitorDies(t *testing.T) {
	require.UFFD(t)
	m := startMonitorProcess(t)
	var died time.Time
	r := runWith(t, guesttest.Spec{Pages: 2048, RegionLines: 1024, Shards: 1, Capacity: 512, Monitors: []string{m.addr}, Session: 1,
		Work: "reread", Duration: time.Minute, Deadline: 5 * time.Second}, func(string) {
		m.cmd.Process.Kill()
		died = time.Now()
	})
	if d := time.Since(died); d > time.Minute {
		t.Errorf("it took %v to notice", d)
	}
	for _, want := range []string{"guest memory at 0x", "vr-1000", m.addr, "can't be served", "start the vNode again"} {
		if !strings.Contains(r.Error, want) {
			t.Errorf("error %q doesn't say %q", r.Error, want)
		}
	}
	if r.Bad != 0 {
		t.Errorf("wrong content before the end: %s", r.First)
	}
}

// TestMonitorDiesUnderWriter: likewise when it is the write-back that has nowhere
// to go.
func TestMonitorDiesUnderWriter(t *testing.T) {
	require.UFFD(t)
	m := startMonitorProcess(t)
	time.AfterFunc(time.Second, func() { m.cmd.Process.Kill() })
	r := runAlone(t, guesttest.Spec{Pages: 2048, RegionLines: 1024, Shards: 1, Capacity: 512, Monitors: []string{m.addr}, Session: 1,
		Work: "verify", Threads: 2, Writes: 100, Duration: time.Minute, Deadline: 5 * time.Second})
	if !strings.Contains(r.Error, m.addr) || !strings.Contains(r.Error, "can't be served") {
		t.Errorf("error %q, want one that names the monitor", r.Error)
	}
}

// TestReplicaServes: one of two owners dies, and what it held is read from the other.
func TestReplicaServes(t *testing.T) {
	require.UFFD(t)
	one, two := startMonitorProcess(t), startMonitorProcess(t)
	r := runWith(t, guesttest.Spec{Pages: 4096, RegionLines: 1024, Shards: 1, Capacity: 512, Monitors: []string{one.addr, two.addr}, Replicas: 2, Session: 1,
		Work: "reread", Duration: 2 * time.Second, Least: 3 * 4096}, func(string) { one.cmd.Process.Kill() })
	check(t, r)
	s := stats(t, r)
	t.Logf("%d reads, %d errors, %d misses", r.Accesses, s.ReadErrors, s.Missed)
}

// TestDiscard: what the guest gives up is zero, and gone at the monitor.
func TestDiscard(t *testing.T) {
	require.UFFD(t)
	addr := startMonitor(t, 64<<20)
	c := client.New(client.Config{Address: addr})
	defer c.Close()
	held := func() (n uint32) {
		for _, i := range []uint64{0, 1, 1024, 1025} { // vRegions of a guest of 16 MiB with a gap to 4 GiB
			s, err := c.Stat(context.Background(), remote.VRegionID(1<<32|i+1))
			if err != nil {
				t.Errorf("ask for vRegion %d: %v", i, err)
			}
			n += s.Held
		}
		return n
	}
	r := runWith(t, guesttest.Spec{Pages: 4096, RegionLines: 1024, Shards: 2, Capacity: 512, Monitors: []string{addr}, Session: 1, Work: "discard"},
		func(point string) {
			n := held()
			if point == "filled" && n < 3000 {
				t.Errorf("%d lines at the monitor after 4096 were written", n)
			}
			if point == "discarded" && n > 2048 {
				t.Errorf("%d lines at the monitor after half of 4096 were discarded", n)
			}
		})
	check(t, r)
}

// TestPreloaded: pages that the VMM wrote before the pager started are lines like
// any other.
func TestPreloaded(t *testing.T) {
	require.UFFD(t)
	addr := startMonitor(t, 64<<20)
	r := runAlone(t, guesttest.Spec{Pages: 4096, RegionLines: 1024, Shards: 2, Capacity: 512, Monitors: []string{addr}, Session: 1,
		Work: "reread", Preload: 1500})
	check(t, r)
	if s := stats(t, r); s.Used > 512 {
		t.Errorf("%d lines are used, of 512", s.Used)
	}
}

// TestPolicies: every policy and prefetcher, with an ExCache that changes under the guest.
func TestPolicies(t *testing.T) {
	require.UFFD(t)
	addr := startMonitor(t, 64<<20)
	for i, c := range []struct{ policy, prefetch string }{{"fifo", "off"}, {"lru", "sequential"}, {"s3fifo", "majority"}} {
		t.Run(c.policy+" "+c.prefetch, func(t *testing.T) {
			r := runAlone(t, guesttest.Spec{Pages: 4096, RegionLines: 1024, Shards: 2, Capacity: 1024, Monitors: []string{addr}, Session: uint64(i + 1),
				Work: "verify", Threads: 3, Ops: 8000, Writes: 30, Policy: c.policy, Prefetch: c.prefetch,
				Resize: []uint64{300, 2000, 256, 4000, 500}, Every: 20 * time.Millisecond})
			check(t, r)
			t.Logf("%+v", stats(t, r))
		})
	}
}

// TestSparseGuest: a guest of 256 GiB costs what it touches.
func TestSparseGuest(t *testing.T) {
	require.UFFD(t)
	addr := startMonitor(t, 64<<20)
	r := runAlone(t, guesttest.Spec{Pages: 256 << 18, RegionLines: 1 << 18, Shards: 4, Capacity: 512, Monitors: []string{addr}, Session: 1,
		Work: "sparse", Ops: 3000})
	check(t, r)
	s := stats(t, r)
	if s.Missed+s.Ahead+s.Held < 5000 {
		t.Errorf("%d misses, %d ahead, %d held: memory was not evicted: %+v, %d pagers", s.Missed, s.Ahead, s.Held, s, r.Pagers)
	}
	if r.Table == 0 || r.Table > 64<<20 {
		t.Errorf("the line table takes %d bytes", r.Table)
	}
	t.Logf("line table %d KiB, %v", r.Table>>10, time.Duration(r.Nanos))
}
