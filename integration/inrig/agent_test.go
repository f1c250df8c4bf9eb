package inrig

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"splitvm/integration/pty"
)

// vnodeCommand runs splitvm to its end.
func vnodeCommand(t *testing.T, in string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "splitvm", args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// awaitAgent waits until a guest runs commands.
func awaitAgent(t *testing.T, g *guestRun, name string) {
	t.Helper()
	for deadline := time.Now().Add(guestLimit); ; time.Sleep(100 * time.Millisecond) {
		if _, _, status := vnodeCommand(t, "", "exec", name, "--", "true"); status == 0 {
			return
		}
		if time.Now().After(deadline) {
			g.cancel()
			g.cmd.Wait()
			_, errs, _ := vnodeCommand(t, "", "exec", name, "--", "true")
			t.Fatalf("no agent: %s\n%s", errs, g.out.String())
		}
	}
}

// TestAgent runs commands in a guest that runs, copies files both ways, and
// uses its user network: out of it, into it, and for names.
func TestAgent(t *testing.T) {
	needRig(t)
	const name = "agent"
	g := startGuest(t, "6.12", []string{"--name", name, "--net", "user,host-loopback", "-p", "127.0.0.1:18080:80"},
		"export A=1; while [ ! -e /tmp/stop ]; do sleep 0.1; done; echo stopped")
	awaitAgent(t, g, name)
	t.Run("exec", func(t *testing.T) { agentExec(t, name) })
	t.Run("terminal", func(t *testing.T) { agentTerminal(t, name) })
	t.Run("cp", func(t *testing.T) { agentCopy(t, name) })
	t.Run("network", func(t *testing.T) { agentNetwork(t, name) })
	t.Run("publish", func(t *testing.T) { agentPublish(t, name) })
	vnodeCommand(t, "", "exec", name, "--", "touch", "/tmp/stop")
	if out := g.wait(); !strings.Contains(out, "stopped") {
		t.Errorf("the guest said:\n%s", out)
	}
	leftBehind(t)
}

func agentExec(t *testing.T, name string) {
	out, errs, status := vnodeCommand(t, "input", "exec", "-i", "-e", "B=2", "-w", "/etc", name, "--", "sh", "-c", `cat; echo " $B $PWD $(cat /proc/1/comm)"; echo err >&2; exit 3`)
	if out != "input 2 /etc init\n" || errs != "err\n" || status != 3 {
		t.Errorf("output %q, %q, status %d", out, errs, status)
	}
	if _, _, status := vnodeCommand(t, "", "exec", name, "--", "sh", "-c", "kill -KILL $$"); status != 137 {
		t.Errorf("status %d of a command that was killed", status)
	}
	if _, errs, status := vnodeCommand(t, "", "exec", name, "--", "no-such-program"); status != 127 || !strings.Contains(errs, "no-such-program") {
		t.Errorf("status %d, %q of a command that is not there", status, errs)
	}
	if _, errs, status := vnodeCommand(t, "", "exec", "nobody", "--", "true"); status != 125 || !strings.Contains(errs, "no vNode named nobody") {
		t.Errorf("status %d, %q of a vNode that is not there", status, errs)
	}
}

// agentTerminal types into a shell.
func agentTerminal(t *testing.T, name string) {
	master, slave, err := pty.Open(77, 22)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	cmd := exec.CommandContext(t.Context(), "splitvm", "exec", "-it", name, "--", "sh", "-c", `stty size; read line; echo "got $line"; sleep 60`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var screen strings.Builder
	expect := func(text string) {
		buf := make([]byte, 1024)
		for !strings.Contains(screen.String(), text) {
			n, err := master.Read(buf)
			if err != nil {
				t.Fatalf("no %q on the screen: %q (%v)", text, screen.String(), err)
			}
			screen.Write(buf[:n])
		}
	}
	expect("22 77")
	io.WriteString(master, "typed\r")
	expect("got typed")
	io.WriteString(master, "\x03") // Ctrl-C is the command's
	cmd.Wait()
	if st := cmd.ProcessState.ExitCode(); st != 130 {
		t.Errorf("exit status %d after Ctrl-C, want 130", st)
	}
}

func agentCopy(t *testing.T, name string) {
	dir := t.TempDir()
	want := make([]byte, 4<<20)
	rand.New(rand.NewSource(3)).Read(want)
	if err := os.MkdirAll(dir+"/d/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/d/sub/f", want, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{dir + "/d", name + ":/tmp"}, {name + ":/tmp/d", dir + "/back"}} {
		if _, errs, status := vnodeCommand(t, "", append([]string{"cp"}, args...)...); status != 0 {
			t.Fatalf("cp %v: %s", args, errs)
		}
	}
	sum := md5.Sum(want)
	if out, _, _ := vnodeCommand(t, "", "exec", name, "--", "md5sum", "/tmp/d/sub/f"); !strings.HasPrefix(out, hex.EncodeToString(sum[:])) {
		t.Errorf("in the guest: %s", out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "back/sub/f")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back (%v)", len(got), err)
	}
	if _, errs, status := vnodeCommand(t, "", "cp", name+":/none", dir); status != 1 || !strings.Contains(errs, "/none") {
		t.Errorf("a file that is not there: status %d, %q", status, errs)
	}
}

func agentNetwork(t *testing.T, name string) {
	const size = 8 << 20
	data := make([]byte, size)
	rand.New(rand.NewSource(4)).Read(data)
	down := serve(t, func(c net.Conn) (string, error) {
		_, err := c.Write(data)
		return "", err
	})
	up := serve(t, func(c net.Conn) (string, error) {
		sum := md5.New()
		_, err := io.Copy(sum, c)
		return hex.EncodeToString(sum.Sum(nil)), err
	})
	out, errs, status := vnodeCommand(t, "", "exec", name, "--", "sh", "-c", fmt.Sprintf(`set -e
ip -4 addr show eth0 | grep inet
ping -c 5 -i 0.1 10.0.2.1 | grep -E 'loss|round'
nslookup %[4]s.internal | grep -A 1 Name
guesttool get 10.0.2.1:%[1]d
guesttool put 10.0.2.1:%[2]d %[3]d`, down.port, up.port, size, name))
	if status != 0 {
		t.Fatalf("status %d: %s%s", status, out, errs)
	}
	for _, want := range []string{"inet 10.0.2.2/24", " 0% packet loss", "10.0.2.2\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if want := md5.Sum(data); field(t, out, "got:") != hex.EncodeToString(want[:]) {
		t.Errorf("the guest received something else:\n%s", out)
	}
	down.result(t)
	if got := up.result(t); got != field(t, out, "put:") {
		t.Errorf("the machine received %s:\n%s", got, out)
	}
	t.Log(out)
}

// agentPublish connects to the guest through a port of the machine.
func agentPublish(t *testing.T, name string) {
	server := exec.CommandContext(t.Context(), "splitvm", "exec", name, "--", "sh", "-c", "echo from the guest | nc -l -p 80")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(guestLimit); ; time.Sleep(100 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:18080")
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c) // a reset until the server is there
		c.Close()
		if string(got) == "from the guest\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("received %q", got)
		}
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}
