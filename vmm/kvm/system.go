package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// System is an open /dev/kvm.
type System struct {
	file   *os.File
	fd     int
	runLen int // bytes of a vCPU's run area
}

// apiVersion is the only version that KVM ever had since Linux 2.6.22.
const apiVersion = 12

// Open opens the KVM device at path, normally /dev/kvm. Its errors say what
// to do: load a module, join a group, enable virtualization.
func Open(path string) (*System, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open KVM: %w%s", err, openRemedy(path, err))
	}
	s := &System{file: f, fd: int(f.Fd())}
	if v, err := gokvm.GetAPIVersion(f.Fd()); err != nil || v != apiVersion {
		f.Close()
		return nil, fmt.Errorf("open KVM: %s speaks API version %d (%v), want %d", path, v, err, apiVersion)
	}
	n, err := gokvm.GetVCPUMMmapSize(f.Fd())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open KVM: %w", wrap("KVM_GET_VCPU_MMAP_SIZE", err))
	}
	s.runLen = int(n)
	return s, nil
}

func openRemedy(path string, err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return ": enable virtualization in the firmware (or nested virtualization in the host) and load kvm_intel or kvm_amd"
	case errors.Is(err, os.ErrPermission):
		return ": run as root, or " + accessRemedy(path)
	}
	return ""
}

// accessRemedy is how a user gets access: by the device's group, if that has it.
func accessRemedy(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err == nil && st.Mode&0o060 == 0o060 && st.Gid != 0 {
		group := strconv.Itoa(int(st.Gid))
		if g, err := user.LookupGroupId(group); err == nil {
			group = g.Name
		}
		return fmt.Sprintf("add the user to group %s (usermod -a -G %s NAME) and log in again", group, group)
	}
	return fmt.Sprintf("give the user access (setfacl -m u:NAME:rw %s)", path)
}

// Close closes the device. VMs made from it keep working.
func (s *System) Close() error { return s.file.Close() }

// Extension asks for a capability; 0 means that it is missing.
func (s *System) Extension(c gokvm.Capability) int { return checkExtension(s.fd, int(c)) }

// ExtensionNumber is Extension for capabilities younger than gokvm's list,
// whose type holds no number above 255.
func (s *System) ExtensionNumber(c int) int { return checkExtension(s.fd, c) }

func checkExtension(fd, c int) int {
	n, err := ioctl(fd, gokvm.IIO(nrCheckExtension), uintptr(c))
	if err != nil {
		return 0
	}
	return n
}

// CreateVM makes an empty VM.
func (s *System) CreateVM() (*VM, error) {
	fd, err := ioctl(s.fd, gokvm.IIO(nrCreateVM), 0)
	if err != nil {
		return nil, wrap("KVM_CREATE_VM", err)
	}
	unix.CloseOnExec(fd)
	return &VM{fd: fd, runLen: s.runLen}, nil
}

// cpuidEntrySize is sizeof(struct kvm_cpuid_entry2).
const cpuidEntrySize = 40

// SupportedCPUID lists what KVM can give a guest (KVM_GET_SUPPORTED_CPUID).
func (s *System) SupportedCPUID() ([]gokvm.CPUIDEntry2, error) {
	return getCPUID(s.fd, "KVM_GET_SUPPORTED_CPUID", gokvm.IIOWR(nrGetSupportedCPUID, 8))
}

// EmulatedCPUID lists the features that KVM emulates (KVM_GET_EMULATED_CPUID).
func (s *System) EmulatedCPUID() ([]gokvm.CPUIDEntry2, error) {
	return getCPUID(s.fd, "KVM_GET_EMULATED_CPUID", gokvm.IIOWR(nrGetEmulatedCPUID, 8))
}

func getCPUID(fd int, call string, op uintptr) ([]gokvm.CPUIDEntry2, error) {
	for n := 64; n <= 4096; n *= 2 {
		buf := make([]byte, 8+n*cpuidEntrySize)
		binary.LittleEndian.PutUint32(buf, uint32(n))
		_, err := ioctlBytes(fd, op, buf)
		if errors.Is(err, unix.E2BIG) {
			continue
		}
		if err != nil {
			return nil, wrap(call, err)
		}
		got := min(int(binary.LittleEndian.Uint32(buf)), n)
		entries := make([]gokvm.CPUIDEntry2, got)
		for i := range entries {
			copy(bytesOf(&entries[i]), buf[8+i*cpuidEntrySize:])
		}
		return entries, nil
	}
	return nil, wrap(call, unix.E2BIG)
}

// MSRIndices lists the MSRs that make up a vCPU's state (KVM_GET_MSR_INDEX_LIST).
func (s *System) MSRIndices() ([]uint32, error) {
	for n := 256; n <= 65536; n *= 4 {
		buf := make([]byte, 4+4*n)
		binary.LittleEndian.PutUint32(buf, uint32(n))
		_, err := ioctlBytes(s.fd, gokvm.IIOWR(nrGetMSRIndexList, 4), buf)
		if errors.Is(err, unix.E2BIG) {
			continue
		}
		if err != nil {
			return nil, wrap("KVM_GET_MSR_INDEX_LIST", err)
		}
		list := make([]uint32, min(int(binary.LittleEndian.Uint32(buf)), n))
		for i := range list {
			list[i] = binary.LittleEndian.Uint32(buf[4+4*i:])
		}
		return list, nil
	}
	return nil, wrap("KVM_GET_MSR_INDEX_LIST", unix.E2BIG)
}
