package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"

	"splitvm/vmm/kvm"
)

// Level says how a check ended.
type Level string

// The levels of a check.
const (
	OK   Level = "ok"   // as it should be
	Warn Level = "warn" // works, but not for everything or not fast
	Fail Level = "fail" // vNodes can't run until it is changed
)

// Check is one thing that was looked at on this host.
type Check struct {
	Name   string `json:"name"`
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // what to change, unless OK
}

// Host looks at everything that vNodes need of this host: KVM and the speed of
// its ring 0, userfaultfd, tap devices and limits.
func Host(ctx context.Context) []Check {
	checks := kvmChecks(ctx)
	return append(checks, userfaultfd(), tap(), openFiles(), addressSpace(), mapCount(), overcommit(), freeMemory(), cgroupMemory(), autogroup())
}

func ok(name, format string, args ...any) Check {
	return Check{Name: name, Level: OK, Found: fmt.Sprintf(format, args...)}
}

func bad(name string, l Level, remedy, format string, args ...any) Check {
	return Check{Name: name, Level: l, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func kvmChecks(ctx context.Context) []Check {
	sys, err := kvm.Open("/dev/kvm")
	if err != nil {
		return []Check{bad("kvm", Fail, "see the message; `make rig-shell` runs guests without it", "%v", err)}
	}
	defer sys.Close()
	checks := []Check{ok("kvm", "API 12, up to %d vCPUs a VM", sys.Extension(gokvm.CapMAXVCPUS)), capabilities(sys)}
	return append(checks, ring0(ctx, sys))
}

// needed are the capabilities without which a Linux guest does not run here.
var needed = []gokvm.Capability{
	gokvm.CapIRQChip, gokvm.CapPIT2, gokvm.CapIRQFD, gokvm.CapIOEventFD, gokvm.CapIRQRouting, gokvm.CapSignalMSI,
	gokvm.CapImmediateExit, gokvm.CapUserMemory, gokvm.CapSyncMMU, gokvm.CapEXTCPUID,
}

func capabilities(sys *kvm.System) Check {
	var missing []string
	for _, c := range needed {
		if sys.Extension(c) == 0 {
			missing = append(missing, c.String())
		}
	}
	if len(missing) > 0 {
		return bad("kvm-capabilities", Fail, "use Linux 5.15 or later with in-kernel interrupt controllers", "missing: %s", strings.Join(missing, ", "))
	}
	if sys.Extension(gokvm.CapASYNCPFInt) == 0 {
		return bad("kvm-capabilities", Warn, "use Linux 5.9 or later", "no asynchronous page faults: a remote miss stops the whole vCPU")
	}
	return ok("kvm-capabilities", "all, with asynchronous page faults")
}

func ring0(ctx context.Context, sys *kvm.System) Check {
	s, err := Ring0(ctx, sys)
	switch {
	case err != nil:
		return bad("kvm-ring0", Fail, "look at the kernel log; another hypervisor may hold the CPU's virtualization", "%v", err)
	case s.Emulated():
		return bad("kvm-ring0", Warn, "use a host with hardware virtualization for Linux guests, or `make rig-shell`; bare guests run at native speed here",
			"emulated at %.1f MIPS: a Linux guest would need many minutes to boot", s.MIPS)
	}
	return ok("kvm-ring0", "%.0f MIPS", s.MIPS)
}

func userfaultfd() Check {
	const name = "userfaultfd"
	if f, err := os.OpenFile("/dev/userfaultfd", os.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		f.Close()
		return ok(name, "by /dev/userfaultfd")
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno == 0 {
		unix.Close(int(fd))
		return ok(name, "by the system call")
	}
	return bad(name, Fail, "run as root, give access to /dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd=1; without it only --local runs", "%v", errno)
}

func tap() Check {
	const name = "tap"
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return bad(name, Warn, "load module tun and give access to /dev/net/tun; without it vNodes have no tap network", "%v", err)
	}
	defer f.Close()
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return bad(name, Warn, "", "%v", err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, ifr); err != nil {
		remedy := "look at the kernel log"
		if errors.Is(err, unix.EPERM) {
			remedy = "run with CAP_NET_ADMIN, or have an administrator make a tap for the user: ip tuntap add mode tap user NAME"
		}
		return bad(name, Warn, remedy, "can't make a tap: %v", err)
	}
	return ok(name, "a tap can be made")
}
