package tap

import (
	"bytes"
	"errors"
	"io/fs"
	stdnet "net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"splitvm/integration/require"
	"splitvm/vmm/virtio/net"
)

// namespace moves the test into a network namespace of its own. Its thread
// ends with it.
func namespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = unix.Access("/dev/net/tun", unix.R_OK|unix.W_OK)
	}
	if err == nil {
		return
	}
	remedy := "needs a network namespace and /dev/net/tun (" + err.Error() + "): run as root, with the tun module loaded"
	if require.Required("tap") {
		t.Fatal("SPLITVM_REQUIRE has tap: " + remedy)
	}
	t.Skip(remedy)
}

func open(t testing.TB, cfg Config) *Tap {
	t.Helper()
	tap, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
	})
	return tap
}

// wire is a packet socket on the host's side of the interface.
func wire(t testing.TB, tap *Tap) int {
	t.Helper()
	link, err := netlink.LinkByName(tap.Name())
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL in network order
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: 0x0300}); err != nil {
		t.Fatal(err)
	}
	patience := unix.NsecToTimeval(int64(time.Minute))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		t.Fatal(err)
	}
	return fd
}

// frame is one of an Ethernet type that nobody answers.
func frame(to net.MAC, body string) []byte {
	p := append(to[:], 2, 0, 0, 0, 0, 9, 0x88, 0xb5)
	return append(p, body...)
}

// received reads the tap's frames until the one that ends in last.
func received(t *testing.T, fd int, last string) []string {
	t.Helper()
	var bodies []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		p := make([]byte, 2000)
		n, err := unix.Read(fd, p)
		if err == unix.EAGAIN {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if p = p[net.HeaderSize:n]; p[12] != 0x88 || p[13] != 0xb5 {
			continue // the host's own chatter
		}
		bodies = append(bodies, string(p[14:]))
		if string(p[14:]) == last {
			return bodies
		}
	}
	t.Fatalf("%q did not come, only %q", last, bodies)
	return nil
}

func TestFramesBothWays(t *testing.T) {
	namespace(t)
	tap := open(t, Config{Name: "t%d", Up: true})
	if tap.Name() != "t0" {
		t.Errorf("name %q", tap.Name())
	}
	host, fd := wire(t, tap), tap.Queues()[0]
	if err := tap.Apply(net.Settings{Pairs: 1, Filter: net.Filter{All: true}}); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"x", strings.Repeat("y", 1486)} {
		p := frame(net.MAC{2, 0, 0, 0, 0, 1}, body)
		if _, err := unix.Write(host, p); err != nil {
			t.Fatal(err)
		}
		received(t, fd, body)
		if _, err := unix.Write(fd, append(make([]byte, net.HeaderSize), p...)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2000)
		for n := 0; !bytes.Equal(got[:n], p); {
			var from unix.Sockaddr
			var err error
			if n, from, err = unix.Recvfrom(host, got, 0); err != nil {
				t.Fatalf("the host did not get the frame: %v", err)
			}
			if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
				n = 0
			}
		}
	}
}

func TestFilter(t *testing.T) {
	namespace(t)
	tap := open(t, Config{Up: true})
	host, fd := wire(t, tap), tap.Queues()[0]
	own, other := net.MAC{2, 0, 0, 0, 0, 1}, net.MAC{2, 0, 0, 0, 0, 2}
	group, otherGroup := net.MAC{1, 0, 0x5e, 0, 0, 1}, net.MAC{1, 0, 0x5e, 0, 0, 2}
	broadcast := net.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, c := range []struct {
		name   string
		filter net.Filter
		want   string
	}{
		{"all", net.Filter{All: true}, "own other group otherGroup broadcast"},
		{"own", net.Filter{Unicast: []net.MAC{own}, Multicast: []net.MAC{group}}, "own group broadcast"},
		{"groups", net.Filter{Unicast: []net.MAC{own}, AllMulticast: true}, "own group otherGroup broadcast"},
		{"both", net.Filter{Unicast: []net.MAC{own, other}}, "own other broadcast"},
		{"more than the kernel can", net.Filter{Unicast: make([]net.MAC, 8)}, "own other group otherGroup broadcast"},
	} {
		if err := tap.Apply(net.Settings{Pairs: 1, Filter: c.filter}); err != nil {
			t.Fatal(err)
		}
		for _, f := range []struct {
			to   net.MAC
			body string
		}{{own, "own"}, {other, "other"}, {group, "group"}, {otherGroup, "otherGroup"}, {broadcast, "broadcast"}} {
			if _, err := unix.Write(host, frame(f.to, f.body)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(strings.Fields(c.want), received(t, fd, "broadcast")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// datagram is a UDP frame of its own flow, as the kernel spreads by flows.
func datagram(flow byte) []byte {
	p := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	return append(p, 0x10, flow, 0x20, 0, 0, 9, 0, 0, flow)
}

// drain counts the datagrams that a queue has.
func drain(t *testing.T, fd int) (n int) {
	t.Helper()
	for {
		p := make([]byte, 2000)
		k, err := unix.Read(fd, p)
		if err == unix.EAGAIN {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if k > net.HeaderSize+36 && p[net.HeaderSize+23] == 17 && p[net.HeaderSize+36] == 0x20 {
			n++
		}
	}
}

func TestQueuesComeAndGo(t *testing.T) {
	namespace(t)
	const flows = 64
	tap := open(t, Config{Name: "many", Queues: 4, Up: true})
	host := wire(t, tap)
	for _, n := range []int{1, 3, 4, 2, 2, 1} {
		if err := tap.Apply(net.Settings{Pairs: n, Filter: net.Filter{All: true}}); err != nil {
			t.Fatal(err)
		}
		for i := range byte(flows) {
			if _, err := unix.Write(host, datagram(i)); err != nil {
				t.Fatal(err)
			}
		}
		sum, used := 0, 0
		for i, fd := range tap.Queues() {
			k := drain(t, fd)
			if sum += k; k > 0 {
				used++
			}
			if k > 0 && i >= n {
				t.Errorf("%d queues: queue %d has %d frames", n, i, k)
			}
		}
		if sum != flows || used < min(n, 2) {
			t.Errorf("%d queues: %d frames of %d in %d of them", n, sum, flows, used)
		}
	}
	if err := tap.Apply(net.Settings{Pairs: 5}); err == nil {
		t.Error("five queues of four were taken")
	}
}

func TestHostEnd(t *testing.T) {
	namespace(t)
	want := netip.MustParsePrefix("10.9.8.1/24")
	tap := open(t, Config{Name: "h", MTU: 9000, Address: want, Up: true})
	link, err := netlink.LinkByName("h")
	if err != nil {
		t.Fatal(err)
	}
	if mtu, err := tap.MTU(); err != nil || mtu != 9000 || link.Attrs().Flags&stdnet.FlagUp == 0 {
		t.Errorf("MTU %d (%v), flags %v", mtu, err, link.Attrs().Flags)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 || addrs[0].IPNet.String() != want.String() {
		t.Errorf("addresses %v (%v)", addrs, err)
	}
	if !tap.Offloads().Has(net.Checksum | net.TSO4 | net.TSO6) {
		t.Errorf("offloads %#x", tap.Offloads())
	}
	if err := tap.Apply(net.Settings{Pairs: 1, Accept: tap.Offloads(), Filter: net.Filter{All: true}}); err != nil {
		t.Error(err)
	}
}

func TestExistingInterface(t *testing.T) {
	namespace(t)
	for _, c := range []struct {
		name        string
		have, want  int
		unsupported bool
	}{{"one", 1, 1, false}, {"many", 2, 1, false}, {"some", 2, 3, false}, {"few", 1, 2, true}} {
		made := open(t, Config{Name: c.name, Queues: c.have})
		for _, fd := range made.Queues() {
			if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := made.Close(); err != nil {
			t.Fatal(err)
		}
		tap, err := Open(Config{Name: c.name, Queues: c.want})
		if (err != nil) != c.unsupported {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "multi_queue") {
				t.Errorf("%v does not say what to do", err)
			}
			continue
		}
		if len(tap.Queues()) != c.want {
			t.Errorf("%s: %d queues", c.name, len(tap.Queues()))
		}
		tap.Close()
	}
}

func TestOpenFails(t *testing.T) {
	namespace(t)
	open(t, Config{Name: "busy"})
	for name, c := range map[string]struct {
		cfg  Config
		is   error
		says string
	}{
		"busy":          {Config{Name: "busy"}, unix.EBUSY, "another process"},
		"no tap":        {Config{Name: "lo"}, unix.EINVAL, "no tap"},
		"long name":     {Config{Name: "aninterfacename0"}, nil, "15 bytes"},
		"no queues":     {Config{Queues: -1}, nil, "queues"},
		"impossible":    {Config{Name: "mtu", MTU: 1}, nil, "MTU"},
		"wrong address": {Config{Name: "addr", Address: netip.PrefixFrom(netip.IPv6Unspecified(), 128)}, nil, "address"},
	} {
		tap, err := Open(c.cfg)
		if err == nil {
			tap.Close()
			t.Errorf("%s: Open succeeded", name)
		} else if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if links, err := os.ReadDir("/proc/sys/net/ipv4/conf"); err == nil {
		for _, l := range links {
			if l.Name() == "mtu" || l.Name() == "addr" {
				t.Errorf("interface %s was left behind", l.Name())
			}
		}
	}
}

func TestExplain(t *testing.T) {
	for err, says := range map[error]string{
		fs.ErrNotExist: "modprobe tun", unix.ENODEV: "modprobe tun", unix.EPERM: "ip tuntap add vm0 mode tap user", unix.EACCES: "run as root",
	} {
		if got := explain(err, Config{Name: "vm0"}); !errors.Is(got, err) || !strings.Contains(got.Error(), says) {
			t.Errorf("%v: %v", err, got)
		}
	}
}
