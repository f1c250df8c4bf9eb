// Rig-agent runs in the rig's L1 machine, started by its init; see package
// splitvm/integration/rig/agent.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig/agent"
	"splitvm/integration/rig/link"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "rig-agent:", err)
		os.Exit(1)
	}
}

func run() error {
	port, err := openPort(link.PortName)
	if err != nil {
		return err
	}
	defer port.Close()
	guests, err := keepVM()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig-agent:", err) // whoever needs KVM will say so
	}
	defer guests.Close()
	return agent.Serve(port, func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) })
}

// openPort opens the virtio-serial port of a name, which its driver shows once
// the host has told it.
func openPort(name string) (*os.File, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(text)) == name {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(f)), os.O_RDWR, 0)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no virtio-serial port %q among %d", name, len(files))
		}
	}
}

// keepVM makes a VM that nobody runs, so that there is one at all times: with the first and
// after the last KVM has the scheduler's code patched (preempt_notifier_inc, a static
// key), and an emulated CPU that is just there can die of the breakpoint that is
// written over it meanwhile ("Oops: int3" in __schedule).
func keepVM() (*os.File, error) {
	const kvmCreateVM = 0xAE01 // _IO(KVMIO, 0x01), linux/kvm.h
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer kvm.Close()
	fd, err := unix.IoctlRetInt(int(kvm.Fd()), kvmCreateVM)
	if err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VM: %w", err)
	}
	return os.NewFile(uintptr(fd), "kvm-vm"), nil
}
