package cmdline

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Names of the words.
const (
	wordRoot      = "root"
	wordFSType    = "rootfstype"
	wordRootFlags = "rootflags"
	wordReadOnly  = "ro"
	wordReadWrite = "rw"
	wordRootWait  = "rootwait"
	wordOverlay   = "splitvm.overlay"
	wordMount     = "splitvm.mount"
	wordLinuxIP   = "ip"
	wordIP        = "splitvm.ip"
	wordHostname  = "splitvm.hostname"
	wordCommand   = "splitvm.cmd"
	wordInit      = "init"
	wordDebug     = "splitvm.debug"
)

// Config is what the host tells the guest's init.
type Config struct {
	Root     Root
	Mounts   []Mount // in the root, in this order
	Links    []Link
	Hostname string
	Command  *Command // nil: become Init

	Init     string   // empty: DefaultInit
	InitArgs []string // of Init, only where there is no Command

	Debug bool
}

// Root says which file system becomes the root, and how.
type Root struct {
	Device   Device        // the zero Device: stay in the initramfs
	FSType   string        // empty: what the superblock tells
	Flags    string        // options of the file system, comma-separated
	ReadOnly bool          // mount it read-only even where the disk is writable
	Wait     time.Duration // for the device to appear, in whole seconds; 0: DefaultRootWait
	Overlay  bool          // lay a tmpfs over it, or what OverlayDevice has
	// OverlayDevice is a disk with a file system that takes the writes instead of a
	// tmpfs; the zero Device: none.
	OverlayDevice Device
	// OverlaySize is the tmpfs's size in tmpfs's own terms, such as 64m; empty
	// for its default, half of the RAM.
	OverlaySize string
}

// DeviceKind says by what a Device is known.
type DeviceKind uint8

// The kinds of Device.
const (
	NoDevice DeviceKind = iota
	ByPath              // /dev/vda
	ByLabel             // the file system's label
	ByUUID              // the file system's UUID, in lower case
	BySerial            // the disk's serial number, as virtio-blk tells it (up to 20 bytes)
)

var devicePrefixes = map[DeviceKind]string{ByPath: "", ByLabel: "LABEL=", ByUUID: "UUID=", BySerial: "SERIAL="}

// Device names a block device of the guest.
type Device struct {
	Kind DeviceKind
	Name string
}

func (d Device) String() string {
	if d.Kind == NoDevice {
		return "none"
	}
	return devicePrefixes[d.Kind] + d.Name
}

// ParseDevice reads the value of a root= word.
func ParseDevice(value string) (Device, error) {
	if value == "" || value == "none" {
		return Device{}, nil
	}
	for _, kind := range []DeviceKind{ByLabel, ByUUID, BySerial} {
		name, ok := strings.CutPrefix(value, devicePrefixes[kind])
		if !ok || name == "" {
			continue
		}
		if kind == ByUUID {
			name = strings.ToLower(name)
		}
		return Device{Kind: kind, Name: name}, nil
	}
	if strings.HasPrefix(value, "/dev/") {
		return Device{Kind: ByPath, Name: value}, nil
	}
	return Device{}, fmt.Errorf("root=%s: give a path below /dev, LABEL=, UUID= or SERIAL=", value)
}

// Link is the set-up of one network interface.
type Link struct {
	Device   string // its name or MAC address; empty: the first that is no loopback
	Addrs    []netip.Prefix
	Gateways []netip.Addr
	DNS      []netip.Addr
	MTU      int // 0: leave it
}

// check tells what is wrong with l, if something is.
func (l Link) check() error {
	if len(l.Addrs) == 0 {
		return fmt.Errorf("network interface %q: no address", l.Device)
	}
	if strings.ContainsAny(l.Device, ",= \t\n\"") {
		return fmt.Errorf("network interface %q: bad name", l.Device)
	}
	for _, p := range l.Addrs {
		if !p.IsValid() || p.Addr().Zone() != "" {
			return fmt.Errorf("network interface %q: bad address %v", l.Device, p)
		}
	}
	for _, a := range append(append([]netip.Addr{}, l.Gateways...), l.DNS...) {
		if !a.IsValid() || a.Zone() != "" {
			return fmt.Errorf("network interface %q: bad gateway or name server %v", l.Device, a)
		}
	}
	if l.MTU < 0 || l.MTU > 65535 {
		return fmt.Errorf("network interface %q: mtu %d", l.Device, l.MTU)
	}
	return nil
}
