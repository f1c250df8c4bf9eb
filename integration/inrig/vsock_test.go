package inrig

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSockets talks to a guest's sockets through the Unix sockets that stand
// for them, in both directions, with Linux's own driver on the other end.
func TestSockets(t *testing.T) {
	needRig(t)
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "v.sock")
			l, err := net.Listen("unix", path+"_9000")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			l.(*net.UnixListener).SetDeadline(time.Now().Add(2 * guestLimit))
			g := startGuest(t, kernel, []string{"--vsock", path}, `guesttool vsock-echo 5000 &
guesttool vsock-dial 9001 hello && echo "port 9001 took me"
guesttool vsock-dial 9000 ready`)
			c, err := l.Accept()
			if err != nil {
				g.cancel()
				g.cmd.Wait()
				t.Fatalf("%v\n%s", err, g.out.String())
			}
			defer c.Close()
			if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "ready\n" {
				t.Fatalf("the guest said %q (%v)\n%s", line, err, g.out.String())
			}
			refused(t, path)
			for i := range 3 {
				echo(t, path, 4<<20, int64(i))
			}
			fmt.Fprintln(c, "done") // the guest prints it, and ends when we close
			c.Close()
			if out := g.wait(); !strings.Contains(out, "port 9001 of the host: connection reset by peer") || !strings.Contains(out, "done") {
				t.Errorf("the guest said:\n%s", out)
			}
		})
	}
}

// connect goes to a port of the guest's.
func connect(t *testing.T, path string, port int) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(guestLimit))
	fmt.Fprintf(c, "CONNECT %d\n", port)
	return c, bufio.NewReader(c)
}

func refused(t *testing.T, path string) {
	t.Helper()
	_, r := connect(t, path, 5001)
	if answer, err := io.ReadAll(r); err != nil || len(answer) > 0 {
		t.Errorf("a port that nobody listens on answers %q (%v)", answer, err)
	}
}

// echo sends n bytes to the guest's echo server, half-closes, and compares.
func echo(t *testing.T, path string, n int, seed int64) {
	t.Helper()
	want := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(want)
	c, r := connect(t, path, 5000)
	if ok, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(ok, "OK ") {
		t.Fatalf("the guest's answer is %q (%v)", ok, err)
	}
	began := time.Now()
	go func() {
		c.Write(want)
		c.(*net.UnixConn).CloseWrite()
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d came back (%v)", len(got), n, err)
	}
	t.Logf("%d bytes echoed in %v", n, time.Since(began).Round(time.Millisecond))
}
