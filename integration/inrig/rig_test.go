package inrig

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// needRig skips a test that doesn't run inside the machine.
func needRig(t *testing.T) {
	t.Helper()
	if os.Getenv("SPLITVM_IN_RIG") != "1" {
		t.Skip("runs inside the nested rig only: make rig RUN=" + t.Name())
	}
}

// The kernels that guests are tested with.
var kernels = []string{"6.1", "6.12"}

// kvmGetAPIVersion is _IO(KVMIO, 0x00), linux/kvm.h.
const kvmGetAPIVersion = 0xAE00

func TestMachine(t *testing.T) {
	needRig(t)
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v, err := unix.IoctlRetInt(int(f.Fd()), kvmGetAPIVersion); err != nil || v != 12 {
		t.Errorf("KVM_GET_API_VERSION: %d, %v; want 12", v, err)
	}
	npt, err := os.ReadFile("/sys/module/kvm_amd/parameters/npt")
	if err != nil || strings.TrimSpace(string(npt)) != "Y" {
		t.Errorf("npt is %q, %v; want Y", npt, err)
	}
	for _, name := range []string{"/dev/net/tun", "/dev/vhost-vsock", "/dev/vhost-net", "/dev/loop-control", "/dev/userfaultfd", "/scratch/lost+found", "/bin/splitvm"} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	for _, k := range kernels {
		for _, name := range []string{"bzImage", "vmlinux", "config", "lib/modules"} {
			if _, err := os.Stat("/kernels/" + k + "/" + name); err != nil {
				t.Error(err)
			}
		}
	}
}
