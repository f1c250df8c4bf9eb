package tap

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/net"
)

// maxQueues is the kernel's MAX_TAP_QUEUES.
const maxQueues = 256

// Config says which interface to open and how the host's end of it shall be.
type Config struct {
	Name   string // of an existing tap, or for a new one; "" or one with %d lets the kernel number it
	Queues int    // 0 is 1
	// The host's end. Zero values leave things as they are.
	MTU     int
	Address netip.Prefix
	Up      bool
}

// Tap is an open tap interface.
type Tap struct {
	name     string // immutable, as all up to mu
	fds      []int
	offloads net.Offload

	mu       sync.Mutex
	attached int // queues that carry frames, from the first; guarded by mu
}

var _ net.Backend = (*Tap)(nil)

// Open makes or attaches to an interface. Errors wrap those of the kernel.
func Open(cfg Config) (*Tap, error) {
	if cfg.Queues == 0 {
		cfg.Queues = 1
	}
	if len(cfg.Name) >= unix.IFNAMSIZ || cfg.Queues < 1 || cfg.Queues > maxQueues {
		return nil, fmt.Errorf("open tap %q with %d queues: a name has up to %d bytes, and there can be %d queues", cfg.Name, cfg.Queues, unix.IFNAMSIZ-1, maxQueues)
	}
	t := &Tap{name: cfg.Name, attached: cfg.Queues}
	if err := t.open(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("open tap %q: %w", cfg.Name, explain(err, cfg)), t.Close())
	}
	return t, nil
}

func (t *Tap) open(cfg Config) error {
	for range cfg.Queues {
		if err := t.addQueue(cfg.Queues > 1); err != nil {
			return err
		}
	}
	if err := t.findOffloads(); err != nil {
		return err
	}
	return configure(t.name, cfg)
}

// addQueue opens the device once more. A tap of several queues can be opened
// for one only in the same words.
func (t *Tap) addQueue(multi bool) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	t.fds = append(t.fds, fd)
	err = t.setInterface(fd, multi)
	if err == unix.EINVAL && !multi {
		err = t.setInterface(fd, true)
	}
	if err != nil {
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, net.HeaderSize); err != nil {
		return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
	}
	return nil
}

func (t *Tap) setInterface(fd int, multi bool) error {
	req, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if multi {
		flags |= unix.IFF_MULTI_QUEUE
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return err
	}
	t.name = req.Name()
	return nil
}

// explain adds what to do to the errors that users meet.
func explain(err error, cfg Config) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: load the kernel's tun module (modprobe tun)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run as root, or make the tap for your user: ip tuntap add %s mode tap user $USER", err, cfg.Name)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another process has it open", err)
	case errors.Is(err, unix.EINVAL) && cfg.Queues > 1:
		return fmt.Errorf("%w: it may exist with one queue; make it with multi_queue: ip tuntap add %s mode tap multi_queue", err, cfg.Name)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: an interface of that name exists that is no tap", err)
	}
	return err
}

// Name is the interface's name.
func (t *Tap) Name() string { return t.name }

// Queues are the descriptors, one per queue.
func (t *Tap) Queues() []int { return t.fds }

// Offloads is what the kernel leaves undone or does on this tap.
func (t *Tap) Offloads() net.Offload { return t.offloads }

// Close gives the queues up; the interface goes away if Open made it.
func (t *Tap) Close() error {
	var errs []error
	for _, fd := range t.fds {
		errs = append(errs, unix.Close(fd))
	}
	t.fds = nil
	return errors.Join(errs...)
}

// tunFlags are the kernel's names of offloads (linux/if_tun.h).
var tunFlags = []struct {
	offload net.Offload
	flag    int
}{
	{net.Checksum, unix.TUN_F_CSUM}, {net.TSO4, unix.TUN_F_TSO4}, {net.TSO6, unix.TUN_F_TSO6}, {net.ECN, unix.TUN_F_TSO_ECN},
	{net.UFO, unix.TUN_F_UFO}, {net.USO4, unix.TUN_F_USO4}, {net.USO6, unix.TUN_F_USO6},
}

// findOffloads asks for ever less until the kernel agrees: USO came with
// Linux 6.2. In the end nothing is accepted before a driver says so.
func (t *Tap) findOffloads() error {
	all := net.Checksum | net.TSO4 | net.TSO6 | net.ECN | net.UFO | net.USO4 | net.USO6
	for _, o := range []net.Offload{all, all &^ (net.USO4 | net.USO6), net.Checksum | net.TSO4 | net.TSO6 | net.ECN, net.Checksum} {
		if t.setOffloads(o) == nil {
			t.offloads = o
			break
		}
	}
	return t.setOffloads(0)
}

func (t *Tap) setOffloads(o net.Offload) error {
	flags := 0
	for _, f := range tunFlags {
		if o.Has(f.offload) {
			flags |= f.flag
		}
	}
	if err := unix.IoctlSetInt(t.fds[0], unix.TUNSETOFFLOAD, flags); err != nil {
		return fmt.Errorf("tap %s: TUNSETOFFLOAD %#x: %w", t.name, flags, err)
	}
	return nil
}

// Apply makes the kernel do as a driver asked.
func (t *Tap) Apply(s net.Settings) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.Pairs < 1 || s.Pairs > len(t.fds) {
		return fmt.Errorf("tap %s: %d queues of %d", t.name, s.Pairs, len(t.fds))
	}
	if err := t.setOffloads(s.Accept); err != nil {
		return err
	}
	if err := t.setFilter(s.Filter); err != nil {
		return err
	}
	return t.attach(s.Pairs)
}

// attach makes the kernel spread frames over the first n queues only.
func (t *Tap) attach(n int) error {
	for t.attached != n {
		i, flag := t.attached, uint16(unix.IFF_ATTACH_QUEUE)
		if t.attached > n {
			i, flag = t.attached-1, unix.IFF_DETACH_QUEUE
		}
		req, err := unix.NewIfreq(t.name)
		if err != nil {
			return err
		}
		req.SetUint16(flag)
		if err := unix.IoctlIfreq(t.fds[i], unix.TUNSETQUEUE, req); err != nil {
			return fmt.Errorf("tap %s: queue %d: TUNSETQUEUE %#x: %w", t.name, i, flag, err)
		}
		if t.attached > n {
			t.attached--
		} else {
			t.attached++
		}
	}
	return nil
}

// exactUnicast is how many addresses the kernel's filter matches exactly
// (FLT_EXACT_COUNT); beyond it only multicast addresses work, by a hash.
const exactUnicast = 8

// filterOf is the kernel's form of a filter: flags, count and addresses of
// struct tun_filter. No addresses means no filter.
func filterOf(f net.Filter) []byte {
	const allMulti = 1 // TUN_FLT_ALLMULTI
	p := []byte{0, 0, 0, 0}
	broadcast := net.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	macs := append(append([]net.MAC{broadcast}, f.Unicast...), f.Multicast...)
	if f.All || 1+len(f.Unicast) > exactUnicast || bits.Len(uint(len(macs))) > 16 {
		return p
	}
	if f.AllMulticast {
		p[0] = allMulti
	}
	p[2], p[3] = byte(len(macs)), byte(len(macs)>>8)
	for _, m := range macs {
		p = append(p, m[:]...)
	}
	return p
}
