package inrig

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// storageMonitor starts a storage monitor and returns its address.
func storageMonitor(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "sock")
	cmd := exec.Command("splitvm", "monitor", "storage", "--listen", "unix:"+socket, "--data", filepath.Join(dir, "data"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("storage monitor: %v", err)
		}
	})
	for tick(t.Context()) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
	}
	return "unix:" + socket
}

// volumeNames lists the volumes of a monitor.
func (h *imageHost) volumeNames(monitor string) (names []string) {
	h.t.Helper()
	var list []struct{ Name string }
	if err := json.Unmarshal([]byte(h.must("volume", "ls", "--storage-monitor", monitor, "-o", "json")), &list); err != nil {
		h.t.Fatal(err)
	}
	for _, v := range list {
		names = append(names, v.Name)
	}
	return names
}

// TestImageAtStorageMonitors has roots of guests at two storage monitors: one base
// for all guests of an image, a writable clone for each guest of a disk; and a volume that
// outlives its guests.
func TestImageAtStorageMonitors(t *testing.T) {
	h := newImageHost(t)
	first, second := storageMonitor(t), storageMonitor(t)
	at := []string{"--storage-monitor", first + "," + second}
	h.must("image", "pull", h.name("busybox"))
	h.must(append([]string{"volume", "create", "--format", "ext4"}, append(at, "data", "64M")...)...)

	with := func(args ...string) []string { return append(append([]string{}, at...), args...) }
	h.expect(0, "33554432\nmounted\n", with("--root-size", "256M", "--volume", "data:/srv/data", h.name("busybox"), "--", "sh", "-c",
		"echo kept >/srv/data/file; head -c 33554432 /dev/zero >/own && sync && stat -c %s /own; grep -q splitvm-root /proc/cmdline && stat -f -c %T /srv/data >/dev/null && echo mounted")...)
	h.expect(0, "kept\ngone\n", with("--volume", "data:/srv/data,ro", h.name("busybox"), "--", "sh", "-c",
		"cat /srv/data/file; cat /own 2>/dev/null || echo gone")...)
	h.expectBases(first, second)

	disk := filepath.Join(t.TempDir(), "tree.ext4")
	script := `set -e
cd $(mktemp -d)
mkdir -p bin dev proc sys run tmp etc
cp "$(readlink -f "$(which busybox)")" bin/busybox
for a in sh cat echo mount grep; do ln -s busybox bin/$a; done
truncate -s 64M ` + disk + `
mkfs.ext4 -q -d . ` + disk
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("make a disk: %v\n%s", err, out)
	}
	h.must("image", "import", "--name", "disk", disk)
	for range 2 { // each has a root of its own, on the disk and not in memory
		h.expect(0, "ext4\nnew\n", with("disk", "--", "/bin/sh", "-c",
			`grep -q " / ext4 rw" /proc/mounts && echo ext4; cat /mine 2>/dev/null || echo new; echo x >/mine`)...)
	}
	if names := h.volumeNames(first); strings.Contains(strings.Join(names, " "), "root/") {
		t.Errorf("roots of guests that have ended are left: %q", names)
	}
}

// expectBases checks that one image, run twice, is once at each monitor.
func (h *imageHost) expectBases(monitors ...string) {
	h.t.Helper()
	for _, m := range monitors {
		names := h.volumeNames(m)
		if len(names) != 2 || names[0] != "data" || !strings.HasPrefix(names[1], "image/") {
			h.t.Errorf("%s has the volumes %q", m, names)
		}
	}
}
