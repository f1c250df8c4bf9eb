package inrig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// volumeAt starts a storage monitor over TCP and makes a volume there.
func volumeAt(t testing.TB, port int, size string) (address string) {
	t.Helper()
	data, err := os.MkdirTemp("/scratch", "storage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(data) })
	address = fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command("splitvm", "monitor", "storage", "--listen", address, "--data", data)
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
	var out []byte
	for tick(t.Context()) {
		if out, err = exec.Command("splitvm", "volume", "create", "--storage-monitor", address, "vol", size).CombinedOutput(); err == nil {
			return address
		}
	}
	t.Fatalf("volume create: %v\n%s", err, out)
	return ""
}

// moduleDisk is a squashfs of the kernel's modules that name needs, in the files
// 00.ko, 01.ko and so on, in the order in which they are to be loaded.
func moduleDisk(t testing.TB, kernel, name string) string {
	t.Helper()
	dirs, err := filepath.Glob("/kernels/" + kernel + "/lib/modules/*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("modules of %s: %v, %v", kernel, dirs, err)
	}
	out, err := exec.Command("modprobe", "-d", "/kernels/"+kernel, "-S", filepath.Base(dirs[0]), "--show-depends", name).CombinedOutput()
	if err != nil {
		t.Fatalf("modules that %s needs: %v\n%s", name, err, out)
	}
	dir := t.TempDir()
	for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "insmod" {
			continue
		}
		text, err := os.ReadFile(words[1])
		if err == nil {
			err = os.WriteFile(fmt.Sprintf("%s/%02d%s", dir, i, filepath.Base(words[1])), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(t.TempDir(), "modules")
	if out, err := exec.Command("mksquashfs", dir, image, "-noappend", "-quiet", "-no-progress").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return image
}

// TestVolume makes file systems in a guest on a volume without a cache and on one with a
// cache that is smaller than what is written, checks them, and reads again what was
// written; the blocks then pass a scrub.
func TestVolume(t *testing.T) {
	needRig(t)
	address := volumeAt(t, 7081, "1G")
	if out, err := exec.Command("splitvm", "volume", "create", "--storage-monitor", address, "cached", "1G").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const script = `set -e
mkdir -p /tmp/mod /tmp/m # and mke2fs by its path: the shell would take its own
mount -t squashfs -o ro /dev/vdb /tmp/mod
for m in /tmp/mod/*; do insmod $m 2>/dev/null || true; done
dd if=/dev/urandom of=/tmp/noise bs=1M count=24 2>/dev/null
for dev in /dev/vdc /dev/vdd; do for fs in ext4 xfs; do
	case $fs in
	ext4) /usr/sbin/mke2fs -q -F -t ext4 $dev; check="e2fsck -f -n $dev" ;;
	xfs) mkfs.xfs -q -f $dev; check="xfs_repair -n $dev" ;;
	esac
	mount -t $fs -o discard $dev /tmp/m
	for i in 1 2 3; do mkdir -p /tmp/m/$i; cp /tmp/noise /tmp/m/$i/; sync; done
	rm -r /tmp/m/2
	umount /tmp/m
	$check >/tmp/check 2>&1 || { cat /tmp/check; exit 1; }
	mount -t $fs $dev /tmp/m
	cmp /tmp/noise /tmp/m/1/noise && cmp /tmp/noise /tmp/m/3/noise && echo $fs is right
	umount /tmp/m
done; done`
	out, errs, status := splitvmRun(t, "6.12", "bzImage", []string{"--local", "--disk", "/images/root.squashfs,ro",
		"--disk", moduleDisk(t, "6.12", "xfs") + ",ro", "--storage-monitor", address, "--volume", "vol,serial=vol", "--volume", "cached,cache=32M"}, "/bin/sh", "-c", script)
	if status != 0 || out != strings.Repeat("ext4 is right\nxfs is right\n", 2) {
		t.Errorf("status %d, output %q, stderr %q", status, out, errs)
	}
	for _, name := range []string{"vol", "cached"} {
		scrub, err := exec.Command("splitvm", "volume", "scrub", "--storage-monitor", address, name).CombinedOutput()
		if err != nil {
			t.Errorf("scrub %s: %v\n%s", name, err, scrub)
		}
	}
	list, err := exec.Command("splitvm", "volume", "ls", "--storage-monitor", address).CombinedOutput()
	if err != nil || !bytes.Contains(list, []byte("free")) {
		t.Errorf("volume ls: %v\n%s", err, list)
	}
}

// BenchmarkVolume runs fio in guests of splitvm's on a volume over loopback and on
// a local file, and in one of QEMU's on an NBD disk at qemu-nbd, in turn.
func BenchmarkVolume(b *testing.B) {
	if os.Getenv("SPLITVM_IN_RIG") != "1" {
		b.Skip("runs inside the nested rig only")
	}
	// QEMU's TCG computes CRC32 bit by bit (target/i386, helper_crc32): the
	// checksums of blocks take ten times what they take without the instruction.
	b.Setenv("GODEBUG", "cpu.sse42=off")
	address := volumeAt(b, 7082, "256M")
	data, nbd := benchDisk(b), benchDisk(b)
	initrd, line := fioInitrd(b)
	server := exec.Command("qemu-nbd", "-t", "-f", "raw", "--cache=writeback", "-b", "127.0.0.1", "-p", "7083", nbd)
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	own := func(disk ...string) []string {
		args := []string{"splitvm", "run", "--local", "--kernel", "/kernels/6.12/bzImage", "--initrd", initrd, "--mem", "512M", "--cpus", "1",
			"--disk", "/images/root.squashfs,ro", "--cmdline", "mitigations=off tsc=reliable"}
		return append(append(args, disk...), "--", "/bin/sh", "-c")
	}
	guests := []struct {
		name string
		args []string
	}{
		{"volume", own("--storage-monitor", address, "--volume", "vol")},
		{"cached", own("--storage-monitor", address, "--volume", "vol,cache=512M")},
		{"local", own("--disk", data)},
		{"nbd", []string{"qemu-system-x86_64", "-enable-kvm", "-M", "q35", "-cpu", "host", "-smp", "1", "-m", "512M", "-nodefaults", "-no-user-config",
			"-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio", "-kernel", "/kernels/6.12/bzImage", "-initrd", initrd, "-append", line,
			"-drive", "if=none,id=root,format=raw,readonly=on,file=/images/root.squashfs", "-device", "virtio-blk-pci,drive=root",
			"-drive", "if=none,id=data,format=raw,cache=writeback,discard=unmap,file=nbd://127.0.0.1:7083", "-device", "virtio-blk-pci,drive=data"}},
	}
	iops := map[string]map[string][]float64{}
	for b.Loop() {
		for _, g := range guests {
			args := g.args
			if g.name != "nbd" {
				args = append(args[:len(args):len(args)], "dd if=/dev/urandom of=/dev/vdb bs=1M count=256 2>/dev/null\n"+fioScript())
			}
			if iops[g.name] == nil {
				iops[g.name] = map[string][]float64{}
			}
			for job, v := range runFio(b, args) {
				iops[g.name][job] = append(iops[g.name][job], v...)
			}
		}
	}
	for _, j := range fioJobs {
		v, l, n := median(iops["volume"][j.name]), median(iops["local"][j.name]), median(iops["nbd"][j.name])
		c := median(iops["cached"][j.name])
		b.Logf("%-16s volume %8.0f IOPS, cached %8.0f, local %8.0f, nbd %8.0f: volume/local %.2f, volume/nbd %.2f, cached/local %.2f, cached/nbd %.2f",
			j.name, v, c, l, n, v/l, v/n, c/l, c/n)
		b.ReportMetric(v/l, j.name+"/local")
		b.ReportMetric(v/n, j.name+"/nbd")
		b.ReportMetric(c/l, j.name+"-cached/local")
		b.ReportMetric(c/n, j.name+"-cached/nbd")
	}
}
