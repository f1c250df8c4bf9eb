package inrig

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"splitvm/guest/init/cmdline"
)

// TestNetworkBesideQEMU times TCP both ways over a tap with splitvm and with
// QEMU's own virtio-net (no vhost), on the same kernel and root. The rates are
// for people to compare: nothing is asserted of time.
func TestNetworkBesideQEMU(t *testing.T) {
	needRig(t)
	const size, transfers = 16 << 20, 7
	for _, vmm := range []string{"splitvm", "qemu"} {
		t.Run(vmm, func(t *testing.T) {
			name, host, guest := "p0", "10.6.0.1", "10.6.0.2/24"
			giveAddress(t, name, host+"/24")
			down := timed(t, func(c net.Conn) error {
				_, err := c.Write(make([]byte, size))
				return err
			})
			up := timed(t, func(c net.Conn) error {
				_, err := io.Copy(io.Discard, c)
				return err
			})
			script := fmt.Sprintf(`until ping -c 1 -w 1 %[1]s >/dev/null; do :; done
for i in $(seq %[5]d); do guesttool get %[1]s:%[2]d; guesttool put %[1]s:%[3]d %[4]d; done; ping -c 100 -i 0.02 %[1]s | tail -1`,
				host, down.port, up.port, size, transfers)
			out := ""
			if vmm == "splitvm" {
				out = startGuest(t, "6.12", []string{"--net", name + ",ip=" + guest}, script).wait()
			} else {
				out = qemuWithTap(t, name, guest, script)
			}
			t.Logf("MB/s to the guest %v, from it %v, %s", down.rates(t, size, transfers), up.rates(t, size, transfers), grep(out, "round-trip"))
		})
	}
}

// timedServer serves connections one after the other and times them.
type timedServer struct {
	port int
	took chan time.Duration
}

func timed(t *testing.T, handle func(net.Conn) error) *timedServer {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &timedServer{port: l.Addr().(*net.TCPAddr).Port, took: make(chan time.Duration, 100)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			began := time.Now()
			if err := handle(c); err != nil {
				t.Error(err)
			}
			s.took <- time.Since(began)
			c.Close()
		}
	}()
	return s
}

// rates are sorted, in MB/s.
func (s *timedServer) rates(t *testing.T, size, n int) []float64 {
	t.Helper()
	var rates []float64
	for range n {
		select {
		case d := <-s.took:
			rates = append(rates, math.Round(float64(size)/1e5/d.Seconds())/10)
		case <-time.After(guestLimit):
			t.Fatal("a transfer is missing")
		}
	}
	slices.Sort(rates)
	return rates
}

// qemuWithTap runs a script in QEMU's guest and returns its console.
func qemuWithTap(t *testing.T, tap, addr, script string) string {
	t.Helper()
	image, err := os.ReadFile(guestTools(t))
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "root.sqfs") // QEMU locks it for writing
	if err := os.WriteFile(disk, image, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		for t.Context().Err() == nil && exec.Command("ip", "link", "set", tap, "up").Run() != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return initGuest{
		kernel: "6.12", disk: disk,
		config: cmdline.Config{
			Root:    cmdline.Root{Device: cmdline.Device{Kind: cmdline.ByPath, Name: "/dev/vda"}},
			Links:   []cmdline.Link{{Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}},
			Command: shell("%s", script),
		},
		flags: []string{"-smp", "2", "-m", "512M", "-netdev", "tap,id=n,ifname=" + tap + ",script=no,downscript=no,vhost=off", "-device", "virtio-net-pci,netdev=n"},
	}.run(t).out
}
