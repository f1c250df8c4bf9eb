package inrig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"splitvm/integration/rig/initramfs"
)

// guestLimit is how long a guest may take to boot: 4 s on a quiet machine, 30 on a busy one.
const guestLimit = 5 * time.Minute

// TestQEMU boots the stock kernels to a command under QEMU with KVM: what the
// rig must be able to do for anything in it to mean something, and the time that
// our own VMM is compared to.
func TestQEMU(t *testing.T) {
	needRig(t)
	initrd := smallInitramfs(t, `echo "guest is up: $(uname -r), $(nproc) CPUs"`)
	for _, kernel := range kernels {
		for _, machine := range []string{"q35", "microvm"} {
			for _, cpus := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/%dcpu", kernel, machine, cpus), func(t *testing.T) {
					out, took := bootQEMU(t, machine, "/kernels/"+kernel+"/bzImage", initrd, cpus)
					up := grep(out, "guest is up: ")
					if !strings.Contains(up, kernel+".") || !strings.HasSuffix(up, fmt.Sprintf("%d CPUs", cpus)) {
						t.Fatalf("the guest said %q; its console:\n%s", up, out)
					}
					t.Logf("%s (%v from exec of QEMU to its end)", up, took.Round(time.Millisecond))
				})
			}
		}
	}
}

// smallInitramfs writes an initramfs with busybox and nothing else, whose init
// runs a script with its output on the console and powers off.
func smallInitramfs(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "initrd")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := initramfs.New(f)
	b.Host("/bin/busybox", "/usr/bin/busybox")
	b.Dir("/proc", 0o755)
	b.Dir("/dev", 0o755)
	b.Text("/init", 0o755, `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
`+script+`
poweroff -f
`)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// bootQEMU runs a guest to its own end and returns its console and the time it took.
func bootQEMU(t *testing.T, machine, kernel, initrd string, cpus int) (console string, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guestLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-enable-kvm", "-M", machine, "-cpu", "host",
		"-smp", fmt.Sprint(cpus), "-m", "512M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio",
		"-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	took = time.Since(began)
	if err != nil {
		t.Fatalf("QEMU after %v: %v (%v)\n%s", took, err, ctx.Err(), out.String())
	}
	return out.String(), took
}

// grep returns the rest of the first line that has the mark in it.
func grep(text, mark string) string {
	for line := range strings.Lines(text) {
		if _, after, ok := strings.Cut(line, mark); ok {
			return strings.TrimSpace(mark + after)
		}
	}
	return ""
}
