package inrig

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
	"splitvm/images/initramfs"
)

// tick waits a moment, and tells whether the context still lives.
func tick(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(10 * time.Millisecond):
		return true
	}
}

// TestInitRoots mounts every kind of root, by every name that a disk has.
func TestInitRoots(t *testing.T) {
	needRig(t)
	for _, kernel := range kernels {
		for name, c := range map[string]struct {
			image string
			root  cmdline.Root
			check string // a script
		}{
			"ext4":     {"root.ext4", vda, `touch /x && grep "^/dev/vda / ext4 rw" /proc/mounts`},
			"ext4 ro":  {"root.ext4", cmdline.Root{Device: vda.Device, ReadOnly: true}, `! touch /x 2>&- && touch /tmp/x && grep "^/dev/vda / ext4 ro" /proc/mounts`},
			"squashfs": {"root.squashfs", cmdline.Root{Device: cmdline.Device{Kind: cmdline.BySerial, Name: "the-root"}}, `! touch /x 2>&- && touch /tmp/x && grep "^/dev/vda / squashfs ro" /proc/mounts`},
			"squashfs overlay": {"root.squashfs", cmdline.Root{Device: vda.Device, Overlay: true, OverlaySize: "16m"},
				`touch /x && rm /bin/false && grep "^overlay / overlay rw" /proc/mounts && df -k / | grep 16384 && ! grep root.overlay /proc/mounts | grep -v ^overlay`},
			"ext4 overlay by label": {"root.ext4", cmdline.Root{Device: cmdline.Device{Kind: cmdline.ByLabel, Name: "a label"}, Overlay: true, Wait: time.Minute}, `touch /x`},
			"ext4 by uuid":          {"root.ext4", cmdline.Root{Device: cmdline.Device{Kind: cmdline.ByUUID, Name: "6fd1a9b0-0000-4000-8000-00000000abcd"}, Flags: "noatime"}, `grep "^/dev/vda / ext4 rw,noatime" /proc/mounts`},
		} {
			t.Run(kernel+"/"+name, func(t *testing.T) {
				g := initGuest{kernel: kernel, disk: rootDisk(t, c.image), config: cmdline.Config{Root: c.root}}
				if c.image == "root.ext4" {
					tool(t, "tune2fs", "-U", "6fd1a9b0-0000-4000-8000-00000000abcd", g.disk)
				}
				before, err := os.ReadFile(g.disk)
				if err != nil {
					t.Fatal(err)
				}
				// The initramfs is gone, its mounts are carried over, and process 1 is in the root.
				g.config.Command = shell(`%s && [ ! -e /init ] && [ -d /proc/1 ] && [ -c /dev/null ] && [ -d /sys/bus ] && ls -di / /proc/1/root/. && uname -r`, c.check)
				g.run(t).expect(t, report.Exit(0), kernel+".")
				checkDisk(t, g, before)
			})
		}
	}
}

// checkDisk finds the disk clean after the guest, and unchanged if it was not to
// be written.
func checkDisk(t *testing.T, g initGuest, before []byte) {
	t.Helper()
	if strings.HasSuffix(g.disk, ".ext4") {
		tool(t, "e2fsck", "-fn", g.disk)
	}
	after, err := os.ReadFile(g.disk)
	if err != nil {
		t.Fatal(err)
	}
	if g.config.Root.ReadOnly || strings.HasSuffix(g.disk, ".squashfs") {
		if !bytes.Equal(before, after) {
			t.Error("the disk was written")
		}
	}
}

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// TestInitStatus has commands end in every way.
func TestInitStatus(t *testing.T) {
	needRig(t)
	disk := rootDisk(t, "root.squashfs")
	config := func(c *cmdline.Command) cmdline.Config { return cmdline.Config{Root: vda, Command: c} }
	missing := cmdline.Config{Command: shell("true"), Root: cmdline.Root{Device: cmdline.Device{Kind: cmdline.ByPath, Name: "/dev/vdb"}, Wait: time.Second}}
	for name, c := range map[string]struct {
		config cmdline.Config
		want   report.Message
	}{
		"exit":           {config(shell("exit 255")), report.Exit(255)},
		"signal":         {config(shell("kill -SEGV $$")), report.Killed(11)},
		"not found":      {config(&cmdline.Command{Argv: []string{"no-such-program"}}), report.Failure(report.ExitNotFound, "no-such-program in PATH=")},
		"path not found": {config(&cmdline.Command{Argv: []string{"/no/such/program"}}), report.Failure(report.ExitNotFound, "/no/such/program")},
		"not executable": {config(&cmdline.Command{Argv: []string{"/etc/passwd"}}), report.Failure(report.ExitNotExecutable, "permission denied")},
		"no such user":   {config(&cmdline.Command{Argv: []string{"true"}, User: "nemo"}), report.Failure(report.ExitFailed, `user "nemo"`)},
		"no such cwd":    {config(&cmdline.Command{Argv: []string{"true"}, Cwd: "/nowhere"}), report.Failure(report.ExitFailed, "working directory /nowhere")},
		"no such disk":   {missing, report.Failure(report.ExitFailed, "root device /dev/vdb did not appear within 1s: open /dev/vdb: no such file or directory; disks here: /dev/vda squashfs SERIAL=the-root")},
		"no init":        {cmdline.Config{Root: vda, Init: "/no/init"}, report.Failure(report.ExitFailed, "/no/init of the root can't be executed")},
	} {
		t.Run(name, func(t *testing.T) {
			initGuest{kernel: "6.12", disk: disk, config: c.config}.run(t).expect(t, c.want)
		})
	}
}

// TestInitBadInput gives init what nobody should.
func TestInitBadInput(t *testing.T) {
	needRig(t)
	random := filepath.Join(t.TempDir(), "random")
	if err := os.WriteFile(random, bytes.Repeat([]byte("no file system "), 100000), 0o600); err != nil {
		t.Fatal(err)
	}
	cut := rootDisk(t, "root.squashfs")
	if err := os.Truncate(cut, 8192); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		guest  initGuest
		reason string
	}{
		"no file system": {initGuest{disk: random, config: cmdline.Config{Root: vda, Command: shell("true")}}, "neither ext4, squashfs nor erofs"},
		"truncated":      {initGuest{disk: cut, config: cmdline.Config{Root: vda, Command: shell("true")}}, "mount /dev/vda as squashfs"},
		"command": {initGuest{config: cmdline.Config{}, files: []initramfs.File{{Path: cmdline.CommandFile, Data: []byte(`{"argv":`)}}},
			"command: unexpected end of JSON"},
		"modules": {initGuest{config: cmdline.Config{Command: &cmdline.Command{Argv: []string{"/none"}}}, files: []initramfs.File{
			{Path: "/lib/modules/" + release(t, "6.12") + "/modules.dep", Data: []byte("rubbish")}}}, "/none"},
	} {
		t.Run(name, func(t *testing.T) {
			c.guest.kernel = "6.12"
			r := c.guest.run(t)
			if r.message.Kind != report.Failed || !strings.Contains(r.message.Reason, c.reason) {
				t.Errorf("the guest reported %v, want %q; its console:\n%s", r.message, c.reason, r.out)
			}
		})
	}
}

// release is the release of the kernel's modules.
func release(t *testing.T, kernel string) string {
	t.Helper()
	if os.Getenv("SPLITVM_IN_RIG") != "1" {
		return ""
	}
	dirs, err := filepath.Glob("/kernels/" + kernel + "/lib/modules/*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("modules of %s: %v, %v", kernel, dirs, err)
	}
	return filepath.Base(dirs[0])
}

// TestInitProcess looks at what a command gets: its user, groups, directory,
// environment, and a terminal only if asked for.
func TestInitProcess(t *testing.T) {
	needRig(t)
	disk := rootDisk(t, "root.squashfs")
	run := func(c cmdline.Command) initResult {
		return initGuest{kernel: "6.12", disk: disk, config: cmdline.Config{Root: vda, Command: &c}}.run(t)
	}
	script := []string{"sh", "-c", `echo "$(id -u):$(id -g) $PWD $A $HOME $1"; tty; printf 'a\nb\n'; echo via-stdout >/dev/stdout; [ -t 0 ] && stty -a`, "sh", "a  b\tü\"'\\"}
	t.Run("plain", func(t *testing.T) {
		r := run(cmdline.Command{Argv: script, User: "nobody", Cwd: "/mnt", Env: []string{"A=x y"}})
		r.expect(t, report.Exit(0), "65534:65534 /mnt x y / a  b\tü\"'\\\n", "a\nb\nvia-stdout\n", "-echo ")
	})
	t.Run("terminal", func(t *testing.T) {
		r := run(cmdline.Command{Argv: script, User: "0:nogroup", TTY: true, Env: []string{"HOME=/h"}})
		r.expect(t, report.Exit(0), "0:65534 /root ", " /h a  b", "/dev/ttyS0\n", " echo ")
	})
}

// TestInitPorts has a command's three streams on ports of their own, binary, and
// with an end of file; and a command too long for the kernel's command line.
func TestInitPorts(t *testing.T) {
	needRig(t)
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			dir := t.TempDir()
			c := shell(`cat; echo error >&2; exit $(echo -n "$1" | wc -c | cut -c1-2)`)
			c.Argv, c.Stdio = append(c.Argv, "sh", strings.Repeat("x", 4200)), cmdline.StdioPorts
			file, err := initramfs.CommandFile(*c)
			if err != nil {
				t.Fatal(err)
			}
			g := initGuest{kernel: kernel, disk: rootDisk(t, "root.squashfs"), config: cmdline.Config{Root: vda}, files: []initramfs.File{file}}
			for _, p := range []string{cmdline.StdoutPort, cmdline.StderrPort} {
				g.flags = append(g.flags, "-chardev", "file,id="+p+",path="+dir+"/"+p, "-device", "virtserialport,chardev="+p+",name="+p)
			}
			stdin := filepath.Join(dir, "stdin")
			g.flags = append(g.flags, "-chardev", "socket,id=in,server=on,wait=off,path="+stdin, "-device", "virtserialport,chardev=in,name="+cmdline.StdinPort)
			r := g.start(t)
			in := dial(t, stdin)
			every := make([]byte, 1<<16)
			for i := range every {
				every[i] = byte(i ^ i>>8)
			}
			<-r.messages // started: nothing written before is lost, either
			if _, err := in.Write(every); err != nil {
				t.Fatal(err)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			r.wait().expect(t, report.Exit(42))
			if out, err := os.ReadFile(filepath.Join(dir, cmdline.StdoutPort)); !bytes.Equal(out, every) || err != nil {
				t.Errorf("standard output has %d bytes, want the %d of the input: %v", len(out), len(every), err)
			}
			if out, err := os.ReadFile(filepath.Join(dir, cmdline.StderrPort)); string(out) != "error\n" || err != nil {
				t.Errorf("standard error is %q, %v", out, err)
			}
		})
	}
}

// TestInitSignals has the host signal the command.
func TestInitSignals(t *testing.T) {
	needRig(t)
	g := initGuest{kernel: "6.12", disk: rootDisk(t, "root.squashfs"), config: cmdline.Config{Root: vda, Command: shell(
		`trap 'exit 7' TERM; while :; do sleep 0.1; done`)}}
	r := g.start(t)
	if m := <-r.messages; m.Kind != report.Started || m.Uptime == 0 {
		t.Errorf("the guest reported %v, want that it started", m)
	}
	if _, err := r.status.Write([]byte("rubbish\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.status.Write(report.EncodeRequest(uint8(unix.SIGTERM))); err != nil {
		t.Fatal(err)
	}
	res := r.wait()
	if res.message != report.Exit(7) && res.message != report.Killed(15) { // killed: the shell had not set its trap yet
		t.Errorf("the guest reported %v, want exit 7 or signal 15; its console:\n%s", res.message, res.out)
	}
}

// TestInitShutdown leaves processes running that have something to write.
func TestInitShutdown(t *testing.T) {
	needRig(t)
	g := initGuest{kernel: "6.12", disk: rootDisk(t, "root.ext4"), config: cmdline.Config{Root: vda, Command: shell(
		`(setsid sh -c 'trap "echo terminated >/daemon; exit" TERM; echo >/up; while :; do sleep 0.1; done' &) &
		 (setsid sh -c 'trap "" TERM; echo >/up2; while :; do sleep 1; done' &) &
		 while [ ! -e /up ] || [ ! -e /up2 ]; do sleep 0.1; done
		 mkdir /mnt/a\ b && mount -t tmpfs t /mnt && echo written >/written; exit 4`)}}
	g.run(t).expect(t, report.Exit(4))
	tool(t, "e2fsck", "-fn", g.disk)
	for file, want := range map[string]string{"/daemon": "terminated\n", "/written": "written\n"} {
		out, err := exec.CommandContext(t.Context(), "debugfs", "-R", "cat "+file, g.disk).Output()
		if string(out) != want || err != nil {
			t.Errorf("%s has %q, %v; want %q", file, out, err, want)
		}
	}
}

// TestInitNetwork sets up two interfaces and talks to the host over one.
func TestInitNetwork(t *testing.T) {
	needRig(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "greetings from the host") })}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Close()
		<-served
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			g := initGuest{kernel: kernel, disk: rootDisk(t, "root.squashfs"), config: networkConfig(port)}
			for i, mac := range []string{"52:54:00:00:00:01", "52:54:00:00:00:02"} {
				g.flags = append(g.flags, "-netdev", fmt.Sprintf("user,id=n%d", i), "-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=%s,romfile=", i, mac))
			}
			g.run(t).expect(t, report.Exit(0), "greetings from the host", "a-guest", "inet 10.1.2.3/16", "inet6 fd00::5/64",
				"default via 10.0.2.2 dev eth0", "default via fd00::1 dev eth1", "nameserver 10.0.2.3", "mtu 1400", "inet 127.0.0.1/8")
		})
	}
}

func networkConfig(port string) cmdline.Config {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	return cmdline.Config{
		Root: cmdline.Root{Device: vda.Device, Overlay: true}, Hostname: "a-guest",
		Links: []cmdline.Link{
			{Device: "eth0", Addrs: []netip.Prefix{prefix("10.0.2.15/24")}, Gateways: []netip.Addr{addr("10.0.2.2")}, DNS: []netip.Addr{addr("10.0.2.3")}},
			{Device: "52:54:00:00:00:02", Addrs: []netip.Prefix{prefix("10.1.2.3/16"), prefix("fd00::5/64")}, Gateways: []netip.Addr{addr("fd00::1")}, MTU: 1400},
		},
		Command: shell("hostname; ip addr; ip route; ip -6 route; cat /etc/resolv.conf; wget -qO- http://10.0.2.2:%s/", port),
	}
}

// TestInitWithoutRoot runs a command in the initramfs; and TestInitHandsOver
// becomes the init of a root.
func TestInitWithoutRoot(t *testing.T) {
	needRig(t)
	busybox, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, kernel := range kernels {
		g := initGuest{kernel: kernel, files: []initramfs.File{{Path: "/bin/busybox", Mode: 0o755, Data: busybox}, {Path: "/bin/sh", Mode: fs.ModeSymlink, Data: []byte("busybox")}},
			config: cmdline.Config{Command: shell("/bin/busybox uname -r; [ -e /init ] && exit 9")}}
		g.run(t).expect(t, report.Exit(9), kernel+".")
	}
}

func TestInitHandsOver(t *testing.T) {
	needRig(t)
	g := initGuest{kernel: "6.12", disk: rootDisk(t, "root.squashfs"), config: cmdline.Config{
		Root: vda, Init: "/bin/sh", InitArgs: []string{"-c", "echo I am process $$ of the root; ls /init; poweroff -f"}}}
	g.run(t).expect(t, report.Message{}, "I am process 1 of the root", "ls: /init: No such file")
}
