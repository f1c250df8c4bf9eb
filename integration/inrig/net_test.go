package inrig

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// giveAddress gives the machine's end of a tap an address once the VMM has made
// the interface.
func giveAddress(t *testing.T, name, addr string) {
	t.Helper()
	go func() {
		for t.Context().Err() == nil && exec.Command("ip", "addr", "add", addr, "dev", name).Run() != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}()
}

// TestNetwork moves data between a guest and the machine over a tap: pings,
// and TCP both ways, with the sums of what was sent and received.
func TestNetwork(t *testing.T) {
	needRig(t)
	const size = 16 << 20
	for i, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			host, guest, name := fmt.Sprintf("10.5.%d.1", i), fmt.Sprintf("10.5.%d.2", i), fmt.Sprintf("t%d", i)
			giveAddress(t, name, host+"/24")
			data := make([]byte, size)
			rand.New(rand.NewSource(int64(i))).Read(data)
			down := serve(t, func(c net.Conn) (string, error) {
				_, err := c.Write(data)
				return "", err
			})
			up := serve(t, func(c net.Conn) (string, error) {
				sum := md5.New()
				n, err := io.Copy(sum, c)
				if err == nil && n != size {
					err = fmt.Errorf("%d bytes", n)
				}
				return hex.EncodeToString(sum.Sum(nil)), err
			})
			g := startGuest(t, kernel, []string{"--net", name + ",ip=" + guest + "/24"}, fmt.Sprintf(`set -e
until ping -c 1 -w 1 %[1]s >/dev/null; do :; done
ping -c 20 -i 0.05 -s 1400 %[1]s | grep -E 'loss|round'
echo "offloads: $(cat /sys/class/net/eth0/device/features)"
guesttool get %[1]s:%[2]d
guesttool put %[1]s:%[3]d %[4]d
`, host, down.port, up.port, size))
			out := g.wait()
			if want := md5.Sum(data); field(t, out, "got:") != hex.EncodeToString(want[:]) {
				t.Errorf("the guest received something else:\n%s", out)
			}
			down.result(t)
			if got := up.result(t); got != field(t, out, "put:") {
				t.Errorf("the machine received %s:\n%s", got, out)
			}
			if !strings.Contains(out, " 0% packet loss") {
				t.Errorf("pings were lost:\n%s", out)
			}
			t.Log(out)
		})
	}
}

// server serves one connection.
type server struct {
	port int
	done chan outcome
}

type outcome struct {
	text string
	err  error
}

func serve(t *testing.T, handle func(net.Conn) (string, error)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &server{port: l.Addr().(*net.TCPAddr).Port, done: make(chan outcome, 1)}
	go func() {
		c, err := l.Accept()
		if err != nil {
			s.done <- outcome{err: err}
			return
		}
		defer c.Close()
		began := time.Now()
		text, err := handle(c)
		t.Logf("a connection of %v", time.Since(began).Round(time.Millisecond))
		s.done <- outcome{text, err}
	}()
	return s
}

func (s *server) result(t *testing.T) string {
	t.Helper()
	select {
	case o := <-s.done:
		if o.err != nil {
			t.Error(o.err)
		}
		return o.text
	case <-time.After(guestLimit):
		t.Error("nobody connected, or the connection does not end")
		return ""
	}
}
