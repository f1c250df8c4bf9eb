// Package require tells a test whether the kernel facility that it needs is here.
//
// A test that needs KVM, userfaultfd, disks or the nested rig skips without it, and the
// skip says the remedy. Where the facility must be there (CI), the environment
// variable SPLITVM_REQUIRE, a comma-separated list of kvm, uffd, disks and rig, turns
// the skip into a failure.
package require

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/vmm/kvm"
)

// KVM skips t unless /dev/kvm can be opened for reading and writing.
func KVM(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		missing(t, "kvm", "needs /dev/kvm ("+err.Error()+"): load kvm_intel or kvm_amd, or run as a member of group kvm")
		return
	}
	f.Close()
}

// System is the KVM of this host until t ends; t is skipped without it.
func System(t testing.TB) *kvm.System {
	t.Helper()
	KVM(t)
	sys, err := kvm.Open("/dev/kvm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close() })
	return sys
}

// UFFD skips t unless a userfaultfd that serves kernel-mode faults can be had,
// by /dev/userfaultfd or by the system call.
func UFFD(t testing.TB) {
	t.Helper()
	if f, err := os.OpenFile("/dev/userfaultfd", os.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		f.Close()
		return
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		missing(t, "uffd", "needs userfaultfd ("+errno.Error()+"): sysctl vm.unprivileged_userfaultfd=1, run as root, or give access to /dev/userfaultfd")
		return
	}
	unix.Close(int(fd))
}

// Disks skips t unless block devices can be made of files that are served by
// FUSE, and be mounted.
func Disks(t testing.TB) {
	t.Helper()
	for _, name := range []string{"/dev/fuse", "/dev/loop-control"} {
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			missing(t, "disks", "needs "+name+" ("+err.Error()+"): run as root, modprobe fuse loop")
			return
		}
		f.Close()
	}
	if os.Geteuid() != 0 {
		missing(t, "disks", "mounts file systems: run as root")
	}
}

// Rig skips t unless the nested rig was asked for: its guests take minutes.
func Rig(t testing.TB) {
	t.Helper()
	if Required("rig") {
		return
	}
	missing(t, "rig", "whole-guest test: run it with `make rig`, or set SPLITVM_REQUIRE=rig")
}

// Required tells whether SPLITVM_REQUIRE names the facility.
func Required(facility string) bool {
	return slices.Contains(strings.Split(os.Getenv("SPLITVM_REQUIRE"), ","), facility)
}

func missing(t testing.TB, facility, remedy string) {
	t.Helper()
	if Required(facility) {
		t.Fatalf("SPLITVM_REQUIRE has %s: %s", facility, remedy)
	}
	t.Skip(remedy)
}
