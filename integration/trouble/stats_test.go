package trouble

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"splitvm/integration/require"
)

// quantiles are those of a stage, in nanoseconds.
type quantiles struct {
	Count uint64 `json:"count"`
	P50   int64  `json:"p50_ns"`
	P99   int64  `json:"p99_ns"`
	P999  int64  `json:"p999_ns"`
}

// told is what `splitvm stats -o json` says of a vNode's ExCache.
type told struct {
	CPU     float64 `json:"cpu_seconds"`
	ExCache struct {
		Capacity int64     `json:"capacity_lines"`
		Used     int64     `json:"used_lines"`
		Zero     uint64    `json:"faults_zero"`
		Missed   uint64    `json:"faults_missed"`
		Evicted  uint64    `json:"lines_evicted"`
		Ahead    uint64    `json:"lines_ahead"`
		Read     uint64    `json:"bytes_read"`
		Written  uint64    `json:"bytes_written"`
		Accuracy float64   `json:"prefetch_accuracy"`
		Miss     quantiles `json:"miss"`
		Wire     quantiles `json:"wire"`
	} `json:"excache"`
}

// TestStats looks at a running vNode with the command, as a table and as JSON,
// and at its Prometheus endpoint, before and after its ExCache was resized.
func TestStats(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	binary := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	m := runMonitor(t, binary, freeAddress(t), "128M")
	v := runVNode(ctx, t, binary, "--memory-monitor", m.addr, "--name", "looked-at")
	v.passes(t, 3)
	splitvm := func(args ...string) string {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Env = append(os.Environ(), "SPLITVM_RUN_DIR="+v.dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("splitvm %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	var s told
	must(t, json.Unmarshal([]byte(splitvm("stats", "looked-at", "-o", "json")), &s))
	if s.CPU <= 0 {
		t.Errorf("CPU time %v", s.CPU)
	}
	e := s.ExCache
	if e.Capacity != 1024 || e.Used == 0 || e.Zero == 0 || e.Missed == 0 || e.Evicted == 0 || e.Ahead == 0 || e.Read != (e.Missed+e.Ahead)*4096 || e.Written == 0 ||
		e.Accuracy <= 0 || e.Accuracy > 1 {
		t.Errorf("counters %+v", e)
	}
	for _, q := range []quantiles{e.Miss, e.Wire} {
		if q.Count == 0 || q.P50 <= 0 || q.P99 < q.P50 || q.P999 < q.P99 {
			t.Errorf("latencies %+v", q)
		}
	}
	table, metrics := splitvm("stats", "looked-at"), v.metrics(t)
	for _, want := range []string{"faults zero", "faults miss", "dirty", "p99.9", "written back", "of it ahead", "pager restarts"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table has no %q:\n%s", want, table)
		}
	}
	for _, want := range []string{`excache_faults_total{kind="miss",`, `excache_bytes_total{direction="read",`, "excache_dirty_lines{", "splitvm_cpu_seconds_total{", "prefetch_accuracy_ratio{", `quantile="0.999"`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %q:\n%s", want, metrics)
		}
	}
	splitvm("resize", "looked-at", "--excache", "2M")
	v.passes(t, 1)
	must(t, json.Unmarshal([]byte(splitvm("stats", "looked-at", "-o", "json")), &s))
	if e := s.ExCache; e.Capacity != 512 || e.Used > 512 {
		t.Errorf("after a resize to 512 lines: %d used of %d", e.Used, e.Capacity)
	}
}

// metrics scrapes the vNode through its control socket.
func (v *vnodeCommand) metrics(t *testing.T) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(v.dir, "looked-at.sock"))
	}}}
	r, err := c.Get("http://vnode/metrics")
	must(t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(t, err)
	return string(b)
}
