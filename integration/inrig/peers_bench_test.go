package inrig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
	"splitvm/images/initramfs"
)

// BenchmarkBoot times splitvm beside QEMU's machines, one after the other in
// each round: the same kernel and initramfs from exec to the end of the process.
// It reports medians and the ratio to each machine of QEMU's.
func BenchmarkBoot(b *testing.B) {
	if os.Getenv("SPLITVM_IN_RIG") != "1" {
		b.Skip("runs inside the nested rig only")
	}
	initrd := benchInitrd(b)
	kernel := "/kernels/6.12/bzImage"
	const line = "quiet panic=-1 mitigations=off tsc=reliable"
	qemu := func(machine string) []string {
		return []string{"qemu-system-x86_64", "-enable-kvm", "-M", machine, "-cpu", "host", "-smp", "1", "-m", "512M", "-nodefaults", "-no-user-config",
			"-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 " + line}
	}
	machines := []struct {
		name string
		args []string
	}{
		{"splitvm", []string{"splitvm", "run", "--local", "--kernel", kernel, "--initrd", initrd, "--mem", "512M", "--cmdline", line}},
		{"pc", qemu("pc")}, {"microvm", qemu("microvm")},
	}
	took := map[string][]float64{}
	for b.Loop() {
		for _, m := range machines {
			took[m.name] = append(took[m.name], timeGuest(b, m.args))
		}
	}
	own := median(took["splitvm"])
	b.ReportMetric(own, "splitvm-ms")
	for _, name := range []string{"pc", "microvm"} {
		b.ReportMetric(median(took[name]), name+"-ms")
		b.ReportMetric(own/median(took[name]), "splitvm/"+name)
	}
}

func benchInitrd(b *testing.B) string {
	name := filepath.Join(b.TempDir(), "initrd")
	busybox, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const script = "#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\nexec >/dev/console\n/bin/busybox echo guest is up\n/bin/busybox poweroff -f\n"
	err = initramfs.Overlay(f, initramfs.File{Path: "/bin/busybox", Mode: 0o755, Data: busybox},
		initramfs.File{Path: "/init", Mode: 0o755, Data: []byte(script)}, initramfs.File{Path: "/dev/.keep", Mode: 0o644})
	if err != nil {
		b.Fatal(err)
	}
	return name
}

// timeGuest runs a guest to its end and returns how long that took, in ms.
func timeGuest(b *testing.B, args []string) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), guestLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	if err != nil || !strings.Contains(out.String(), "guest is up") {
		b.Fatalf("%v: %v\n%s", args, err, &out)
	}
	return float64(time.Since(began).Microseconds()) / 1000
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// fioJobs are what a disk is measured with.
var fioJobs = []struct {
	name, rw, bs string
	depth        int
}{
	{"randread-4k-1", "randread", "4k", 1}, {"randread-4k-32", "randread", "4k", 32},
	{"randwrite-4k-1", "randwrite", "4k", 1}, {"randwrite-4k-32", "randwrite", "4k", 32},
	{"read-128k-1", "read", "128k", 1}, {"read-128k-32", "read", "128k", 32},
	{"write-128k-1", "write", "128k", 1}, {"write-128k-32", "write", "128k", 32},
}

// fioTurns is how often a guest does all of them, one after the other: a boot
// takes as long as six of them, and their speed changes by a factor of two
// within minutes.
const fioTurns = 3

// BenchmarkDisk runs fio in a guest of splitvm's and in one of QEMU's, in turn,
// on the same file with the same cache mode, and reports splitvm's operations
// per second as a ratio to QEMU's virtio-blk.
func BenchmarkDisk(b *testing.B) {
	if os.Getenv("SPLITVM_IN_RIG") != "1" {
		b.Skip("runs inside the nested rig only")
	}
	for _, cache := range []string{"writeback", "none"} {
		b.Run("cache="+cache, func(b *testing.B) {
			data := benchDisk(b)
			initrd, line := fioInitrd(b)
			guests := map[string][]string{
				"splitvm": {"splitvm", "run", "--local", "--kernel", "/kernels/6.12/bzImage", "--initrd", initrd, "--mem", "512M", "--cpus", "1",
					"--disk", "/images/root.squashfs,ro", "--disk", data + ",cache=" + cache, "--cmdline", "mitigations=off tsc=reliable", "--", "/bin/sh", "-c", fioScript()},
				"qemu": {"qemu-system-x86_64", "-enable-kvm", "-M", "q35", "-cpu", "host", "-smp", "1", "-m", "512M", "-nodefaults", "-no-user-config",
					"-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio", "-kernel", "/kernels/6.12/bzImage", "-initrd", initrd, "-append", line,
					"-drive", "if=none,id=root,format=raw,readonly=on,file=/images/root.squashfs", "-device", "virtio-blk-pci,drive=root",
					"-drive", "if=none,id=data,format=raw,cache=" + cache + ",discard=unmap,file=" + data, "-device", "virtio-blk-pci,drive=data"},
			}
			iops := map[string]map[string][]float64{"splitvm": {}, "qemu": {}}
			order := []string{"splitvm", "qemu"}
			for b.Loop() {
				slices.Reverse(order)
				for _, name := range order {
					for job, v := range runFio(b, guests[name]) {
						iops[name][job] = append(iops[name][job], v...)
					}
				}
			}
			for _, j := range fioJobs {
				own, peer := median(iops["splitvm"][j.name]), median(iops["qemu"][j.name])
				b.Logf("%-16s splitvm %8.0f IOPS, qemu %8.0f: ratio %.2f (of each: %.0f; %.0f)", j.name, own, peer, own/peer, iops["splitvm"][j.name], iops["qemu"][j.name])
				b.ReportMetric(own/peer, j.name)
			}
		})
	}
}

// benchDisk is a file of 256 MiB without holes.
func benchDisk(b *testing.B) string {
	dir, err := os.MkdirTemp("/scratch", "fio")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "data")
	if out, err := exec.Command("dd", "if=/dev/urandom", "of="+name, "bs=1M", "count=256", "conv=fsync").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return name
}

// fioInitrd is splitvm's init for either VMM, and the kernel's command line by which
// QEMU's guest is told what splitvm's is.
func fioInitrd(b *testing.B) (initrd, line string) {
	dirs, err := filepath.Glob("/kernels/6.12/lib/modules/*")
	if err != nil || len(dirs) != 1 {
		b.Fatalf("modules: %v, %v", dirs, err)
	}
	command := cmdline.Command{Argv: []string{"/bin/sh", "-c", fioScript()}}
	file, err := initramfs.CommandFile(command)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(filepath.Join(b.TempDir(), "initrd"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := initramfs.Write(f, initramfs.Config{Init: "/bin/splitvm-init", Modules: dirs[0]}); err != nil {
		b.Fatal(err)
	}
	if err := initramfs.Overlay(f, file); err != nil {
		b.Fatal(err)
	}
	c := cmdline.Config{Root: cmdline.Root{Device: vda.Device, ReadOnly: true}}
	words, err := c.Words()
	if err != nil {
		b.Fatal(err)
	}
	line, err = cmdline.Join(append([]string{"console=ttyS0", "quiet", "panic=-1", "mitigations=off", "tsc=reliable"}, words...))
	if err != nil {
		b.Fatal(err)
	}
	return f.Name(), line
}

// fioScript runs the jobs, one after the other, and prints a line of fio's
// terse form for each. One fio for all: it takes seconds to start here.
func fioScript() string {
	var s strings.Builder
	s.WriteString("set -e\nfor i in $(seq " + strconv.Itoa(fioTurns) + "); do fio --minimal --filename=/dev/vdb --ioengine=libaio --direct=1 --time_based --runtime=3 --ramp_time=1 --norandommap")
	for _, j := range fioJobs {
		fmt.Fprintf(&s, " --name=%s --stonewall --rw=%s --bs=%s --iodepth=%d", j.name, j.rw, j.bs, j.depth)
	}
	s.WriteString("; done")
	return s.String()
}

// runFio runs a guest and returns operations per second by job, of each turn. What the one
// before wrote is not for this one to wait for.
func runFio(b *testing.B, args []string) map[string][]float64 {
	b.Helper()
	unix.Sync()
	ctx, cancel := context.WithTimeout(b.Context(), fioTurns*guestLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %v\n%s", args, err, out)
	}
	iops := map[string][]float64{}
	for line := range strings.Lines(string(out)) {
		if name, v, ok := parseTerse(line); ok {
			iops[name] = append(iops[name], v)
		}
	}
	for _, j := range fioJobs {
		if n := len(iops[j.name]); n != fioTurns {
			b.Fatalf("%v: %d results of %s, not %d, in:\n%s", args, n, j.name, fioTurns, out)
		}
	}
	return iops
}

// parseTerse takes a job's name and operations per second out of a line of
// version 3 of fio's terse form (its manual, "Terse Output").
func parseTerse(line string) (name string, iops float64, ok bool) {
	const version, nameAt, readAt, writeAt = "3", 2, 7, 48
	f := strings.Split(strings.TrimSpace(line), ";")
	if f[0] != version || len(f) <= writeAt {
		return "", 0, false
	}
	read, err1 := strconv.ParseFloat(f[readAt], 64)
	write, err2 := strconv.ParseFloat(f[writeAt], 64)
	return f[nameAt], read + write, err1 == nil && err2 == nil
}
