package inrig

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
	"splitvm/images/initramfs"
	"splitvm/images/rootfs"
)

// initGuest is a guest of QEMU's that runs splitvm's init: the init is tested
// apart from splitvm's own VMM, whose devices then are tested with it.
type initGuest struct {
	kernel string // series
	disk   string // image, written to; none if empty
	config cmdline.Config
	files  []initramfs.File // laid over the initramfs
	flags  []string         // QEMU's, further
}

// initLimit is how long one may take to its end; 5 s is usual on a quiet machine,
// a minute on one that others use as well.
const initLimit = 5 * time.Minute

// initRun is a guest that was started.
type initRun struct {
	t        *testing.T
	cmd      *exec.Cmd
	cancel   context.CancelFunc
	console  bytes.Buffer // complete after wait
	status   net.Conn     // the host's end of the status port
	messages chan report.Message
	reader   sync.WaitGroup
}

// initResult is how a guest ended.
type initResult struct {
	message report.Message // the final one; the zero Message if there was none
	out     string         // its console
}

// run runs the guest to its end.
func (g initGuest) run(t *testing.T) initResult {
	t.Helper()
	return g.start(t).wait()
}

func (g initGuest) start(t *testing.T) *initRun {
	t.Helper()
	r := &initRun{t: t, messages: make(chan report.Message, 16)}
	line, err := g.line()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-enable-kvm", "-M", "q35", "-cpu", "host", "-smp", "1", "-m", "256M", "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio", "-device", "virtio-serial-pci",
		"-kernel", "/kernels/" + g.kernel + "/bzImage", "-initrd", g.initrd(t), "-append", line}
	if g.disk != "" {
		args = append(args, "-drive", "if=none,id=root,format=raw,cache=unsafe,file="+g.disk, "-device", "virtio-blk-pci,drive=root,serial=the-root")
	}
	socket := filepath.Join(t.TempDir(), "status")
	args = append(args, "-chardev", "socket,id=status,server=on,wait=off,path="+socket, "-device", "virtserialport,chardev=status,name="+report.PortName)
	ctx, cancel := context.WithTimeout(t.Context(), initLimit)
	r.cancel = cancel
	r.cmd = exec.CommandContext(ctx, "qemu-system-x86_64", append(args, g.flags...)...)
	r.cmd.Stdout, r.cmd.Stderr = &r.console, &r.console
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.status = dial(t, socket)
	r.reader.Go(r.listen)
	return r
}

// line is the kernel's command line.
func (g initGuest) line() (string, error) {
	words, err := g.config.Words()
	if err != nil {
		return "", err
	}
	return cmdline.Join(append([]string{"console=ttyS0", "quiet", "panic=-1", "mitigations=off", "tsc=reliable"}, words...))
}

// initrd writes the initramfs.
func (g initGuest) initrd(t *testing.T) string {
	t.Helper()
	dirs, err := filepath.Glob("/kernels/" + g.kernel + "/lib/modules/*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("modules of %s: %v, %v", g.kernel, dirs, err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "initrd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Signatures are left where they are cheap to check, so that both ways are tested.
	c := initramfs.Config{Init: "/bin/splitvm-init", Modules: dirs[0], StripSignatures: g.kernel != "6.1"}
	if err := initramfs.Write(f, c); err != nil {
		t.Fatal(err)
	}
	if len(g.files) > 0 {
		if err := initramfs.Overlay(f, g.files...); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// dial connects to a socket that QEMU is about to make.
func dial(t *testing.T, socket string) net.Conn {
	t.Helper()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		if t.Context().Err() != nil || !tick(t.Context()) {
			t.Fatal(err)
		}
	}
}

// listen passes on what the guest reports, until QEMU ends.
func (r *initRun) listen() {
	defer close(r.messages)
	var s report.Scanner
	buf := make([]byte, 4096)
	for {
		n, err := r.status.Read(buf)
		s.Write(buf[:n], func(m report.Message, err error) {
			if err != nil {
				r.t.Errorf("the guest's status port: %v", err)
				return
			}
			r.messages <- m
		})
		if err != nil {
			return
		}
	}
}

// wait waits for the guest's end.
func (r *initRun) wait() initResult {
	r.t.Helper()
	err := r.cmd.Wait()
	defer r.cancel()
	var last report.Message
	started := 0
	r.reader.Wait()
	for m := range r.messages {
		if m.Kind == report.Started {
			started++
		}
		last = m
	}
	out := strings.ReplaceAll(r.console.String(), "\r\n", "\n")
	if r.cmd.ProcessState.ExitCode() < 0 {
		r.t.Fatalf("QEMU did not end by itself: %v; its console:\n%s", err, out)
	}
	if started > 1 {
		r.t.Errorf("the guest reported %d starts", started)
	}
	return initResult{message: last, out: out}
}

// expect fails the test unless the guest ended with the message, whose reason
// may be longer, and its console has each of the texts.
func (r initResult) expect(t *testing.T, want report.Message, texts ...string) {
	t.Helper()
	got := r.message
	if got.Kind != want.Kind || got.Code != want.Code || !strings.Contains(got.Reason, want.Reason) {
		t.Errorf("the guest reported %v (status %d), want %v (%d); its console:\n%s", got, got.ExitStatus(), want, want.ExitStatus(), r.out)
	}
	for _, text := range texts {
		if !strings.Contains(r.out, text) {
			t.Errorf("%q is not on the console:\n%s", text, r.out)
		}
	}
}

// shell is a command that runs a script.
func shell(format string, args ...any) *cmdline.Command {
	return &cmdline.Command{Argv: []string{"sh", "-c", fmt.Sprintf(format, args...)}}
}

// rootDisk makes a small root with busybox; its type is the name's extension.
func rootDisk(t *testing.T, name string) string {
	t.Helper()
	busybox, err := rootfs.FindBusybox()
	if err != nil {
		t.Fatal(err)
	}
	files, err := rootfs.Busybox(t.Context(), busybox)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), name)
	if err := rootfs.Make(t.Context(), out, rootfs.Type(filepath.Ext(name)[1:]), rootfs.Image{Files: files, Label: "a label"}); err != nil {
		t.Fatal(err)
	}
	return out
}

var vda = cmdline.Root{Device: cmdline.Device{Kind: cmdline.ByPath, Name: "/dev/vda"}}
