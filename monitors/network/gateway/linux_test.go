package gateway

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote/network"
)

// linuxGuest joins this machine's own network stack to the switch, in a network
// namespace of its own: what Linux does is what most guests do. do runs there.
func linuxGuest(t testing.TB, sw *network.Switch, last byte, do func()) {
	t.Helper()
	addr := netip.AddrFrom4([4]byte{10, 0, 2, last})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	cable := os.NewFile(uintptr(fds[0]), "cable")
	port, err := sw.Attach(network.PortConfig{Addr: addr}, os.NewFile(uintptr(fds[1]), "port"))
	if err != nil {
		t.Fatal(err)
	}
	port.Accept(network.Checksum | network.TSO4)
	mac := network.MACOf(addr)
	done := make(chan error)
	var tap *os.File
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			f, err := openTap()
			if err != nil {
				return err
			}
			tap = f
			for _, args := range []string{fmt.Sprintf("link set tap0 address %v", net.HardwareAddr(mac[:])), fmt.Sprintf("addr add %v/24 dev tap0", addr), "link set tap0 up"} {
				if out, err := exec.Command("sh", "-c", "ip "+args).CombinedOutput(); err != nil {
					return fmt.Errorf("ip %s: %w: %s", args, err, out)
				}
			}
			return nil
		}()
		<-done
		do()
		done <- nil
	}()
	if err := <-done; errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) {
		t.Skipf("no network namespace or tap for this process: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	var copies [2]chan struct{}
	for i, c := range [][2]*os.File{{tap, cable}, {cable, tap}} {
		copies[i] = make(chan struct{})
		go func() {
			defer close(copies[i])
			buf := make([]byte, network.MaxFrame)
			for {
				n, err := c[0].Read(buf)
				if err != nil || n == 0 {
					return
				}
				c[1].Write(buf[:n])
			}
		}()
	}
	done <- nil
	<-done
	tap.Close()
	cable.Close()
	for _, c := range copies {
		<-c
	}
	port.Close()
	t.Logf("port: %+v", port.Stats())
}

func openTap() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq("tap0")
	if err != nil {
		return nil, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, network.HeaderSize); err != nil {
		return nil, err
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tap0"), nil
}

// TestLinuxTCP has Linux's TCP send to a server of the host's, and receive from one.
func TestLinuxTCP(t *testing.T) {
	want := noise(8<<20, 9)
	l, port := hostListener(t)
	defer l.Close()
	sums := make(chan [16]byte, 1)
	go func() {
		for up := true; ; up = !up {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if up {
				h := md5.New()
				io.Copy(h, c)
				sums <- [16]byte(h.Sum(nil))
			} else {
				c.Write(want)
			}
			c.Close()
		}
	}()
	sw, _ := newGateway(t, Config{HostLoopback: true})
	linuxGuest(t, sw, 7, func() {
		began := time.Now()
		c, err := net.Dial("tcp4", netip.AddrPortFrom(gwAddr, port).String())
		if err != nil {
			t.Error(err)
			return
		}
		c.Write(want)
		c.Close()
		if <-sums != md5.Sum(want) {
			t.Error("what was sent up came as something else")
		}
		t.Logf("sent %d MiB in %v", len(want)>>20, time.Since(began))
		began = time.Now()
		if c, err = net.Dial("tcp4", netip.AddrPortFrom(gwAddr, port).String()); err != nil {
			t.Error(err)
			return
		}
		got, err := io.ReadAll(c)
		if err != nil || md5.Sum(got) != md5.Sum(want) {
			t.Errorf("%d bytes came down (%v)", len(got), err)
		}
		c.Close()
		t.Logf("received as much in %v", time.Since(began))
	})
}
