package inrig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startMonitors starts two memory monitors of 1 GiB, which end with the test.
func startMonitors(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var monitors []string
	for i := range 2 {
		addr := fmt.Sprintf("unix:%s/m%d.sock", dir, i)
		monitors = append(monitors, addr)
		cmd := exec.Command("splitvm", "monitor", "memory", "--listen", addr, "--mem", "1G")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Signal(os.Interrupt)
			if err := cmd.Wait(); err != nil {
				t.Errorf("memory monitor: %v", err)
			}
		})
		for tick(t.Context()) {
			if _, err := os.Stat(strings.TrimPrefix(addr, "unix:")); err == nil {
				break
			}
		}
	}
	return strings.Join(monitors, ",")
}

// TestRunRemote has a guest's memory at two memory monitors, with a cache of a
// quarter of what it works on, and has it check what it wrote.
func TestRunRemote(t *testing.T) {
	needRig(t)
	const script = `mount -t tmpfs -o size=200m none /mnt && dd if=/dev/urandom of=/mnt/a bs=1M count=64 2>/dev/null &&
		cp /mnt/a /mnt/b && md5sum /mnt/a /mnt/b | cut -d" " -f1 | uniq | wc -l`
	out, errs, status := splitvmRun(t, "6.12", "bzImage", []string{
		"--memory-monitor", startMonitors(t), "--excache", "48M", "--disk", rootDisk(t, "root.squashfs") + ",ro"}, "/bin/sh", "-c", script)
	if status != 0 || strings.TrimSpace(out) != "1" {
		t.Errorf("status %d, output %q, stderr %q; want two equal sums", status, out, errs)
	}
}

// fileWork copies, packs and unpacks trees of files until the verifying program has
// ended, and compares sums, as a package manager's work does.
const fileWork = `
sum() { (cd $1 && find . -type f | sort | xargs md5sum | md5sum); }
mount -t tmpfs -o size=96m none /tmp && mkdir /tmp/first && cp -r /bin/busybox /bin/guesttool /etc /tmp/first || exit 1
want=$(sum /tmp/first); n=0
guesttool verify %d %d > /tmp/verified & pid=$!
while kill -0 $pid 2>/dev/null; do
	tar -C /tmp/first -czf /tmp/p.tgz . && mkdir /tmp/next && tar -C /tmp/next -xzf /tmp/p.tgz || exit 2
	[ "$(sum /tmp/next)" = "$want" ] || { echo "an unpacked tree is wrong"; exit 3; }
	rm -r /tmp/first /tmp/p.tgz && mv /tmp/next /tmp/first; n=$((n+1))
done
wait $pid || exit 4
cat /tmp/verified; echo "unpacked: $n trees"`

// TestRunRemoteTrouble has a stock Linux guest verify 160 MiB of its memory and
// work on files, with an ExCache of a quarter to a twentieth of the 320 MiB that it
// uses, which is resized while its pagers are killed. Ten minutes with
// SPLITVM_SOAK=1.
func TestRunRemoteTrouble(t *testing.T) {
	needRig(t)
	seconds := 60
	if os.Getenv("SPLITVM_SOAK") != "" {
		seconds = 600
	}
	name := fmt.Sprintf("trouble-%d", os.Getpid())
	modules, err := filepath.Glob("/kernels/6.12/lib/modules/*")
	if err != nil || len(modules) != 1 {
		t.Fatalf("modules: %v, %v", modules, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*guestLimit+3*time.Duration(seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "splitvm", "run", "--name", name, "--kernel", "/kernels/6.12/bzImage", "--modules", modules[0], "--mem", "512M", "--cpus", "2",
		"--disk", guestTools(t)+",ro", "--memory-monitor", startMonitors(t), "--excache", "80M",
		"--", "/bin/sh", "-c", fmt.Sprintf(fileWork, seconds, 160<<20))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	d := guestDisturber{t: t, name: name, pid: cmd.Process.Pid}
	err = d.run(ctx, over)
	t.Logf("%d pagers killed, %d resizes, at least %d lines missed, %d ahead, %d evicted; the guest: %s", d.kills, d.resizes, d.missed, d.ahead, d.evicted, &out)
	if err != nil || !strings.Contains(out.String(), "verified: ") || !strings.Contains(out.String(), "unpacked: ") {
		t.Errorf("the guest ended with %v", err)
	}
	if d.kills < 3 || d.resizes < 3 || d.missed == 0 || d.ahead == 0 || d.evicted == 0 {
		t.Errorf("there was no trouble of one kind: the test shows less than it should")
	}
}

// guestDisturber kills the pagers of a vNode and resizes its ExCache.
type guestDisturber struct {
	t    *testing.T
	name string
	pid  int // of its splitvm run

	kills, resizes         int
	missed, ahead, evicted uint64 // as far as it was asked before a pager was killed
}

var troubleSizes = []string{"16M", "80M", "40M"}

// run goes on until the vNode ends.
func (d *guestDisturber) run(ctx context.Context, over <-chan error) error {
	random := rand.New(rand.NewPCG(1, 2))
	for {
		select {
		case err := <-over:
			return err
		case <-time.After(time.Duration(random.IntN(5000)) * time.Millisecond):
		}
		if random.IntN(2) == 0 {
			d.kill(ctx)
		} else if exec.CommandContext(ctx, "splitvm", "resize", d.name, "--excache", troubleSizes[d.resizes%len(troubleSizes)]).Run() == nil {
			d.resizes++
		}
	}
}

// kill kills the pager of the moment, of which it asks before what it did.
func (d *guestDisturber) kill(ctx context.Context) {
	var s struct {
		ExCache struct {
			Missed  uint64 `json:"faults_missed"`
			Ahead   uint64 `json:"lines_ahead"`
			Evicted uint64 `json:"lines_evicted"`
		}
	}
	if out, err := exec.CommandContext(ctx, "splitvm", "stats", d.name, "-o", "json").Output(); err == nil && json.Unmarshal(out, &s) == nil {
		d.missed, d.ahead, d.evicted = d.missed+s.ExCache.Missed, d.ahead+s.ExCache.Ahead, d.evicted+s.ExCache.Evicted
	}
	for _, pid := range childrenOf(d.t, d.pid) {
		if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && slices.Contains(strings.Split(string(args), "\x00"), "pager") {
			if unix.Kill(pid, unix.SIGKILL) == nil {
				d.kills++
			}
		}
	}
}

// childrenOf lists the processes that a process started.
func childrenOf(t *testing.T, parent int) (pids []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // gone meanwhile
		}
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // state, parent
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && len(fields) > 1 && string(fields[1]) == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}
