package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig/link"
)

// cpuModel is what L1 sees: an EPYC with nested SVM, less what QEMU's emulation
// hasn't and warns of. Nothing of it may be what the emulation gets wrong, which
// for QEMU 10 is nothing known (7.2 corrupts EFLAGS around CMPXCHG16B).
const cpuModel = "EPYC,-fxsr-opt,-misalignsse,-osvw,-topoext,-nrip-save,-xsavec"

// cmdline is L1's kernel's, and tsc_early_khz=N.
const cmdline = "console=ttyS0 panic=-1 oops=panic mitigations=off tsc=reliable quiet loglevel=5"

// Start boots a machine and returns when commands can be run in it. The machine
// ends with ctx, with Close and with this process.
func Start(ctx context.Context, o Options) (*Machine, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p, err := fetch(ctx, o.Cache)
	if err != nil {
		return nil, err
	}
	image, err := p.image(ctx)
	if err != nil {
		return nil, err
	}
	l := launch{o: o, parts: p, image: image}
	defer l.close()
	if err := l.prepare(ctx); err != nil {
		return nil, fmt.Errorf("prepare the rig's machine: %w", err)
	}
	began := time.Now()
	m, err := l.start(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.waitUp(ctx, o.Boot); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.BootTime, m.BootCPU = time.Since(began), m.vm.cpuTime()
	return m, nil
}

// A launch is a machine on its way: files that QEMU takes over.
type launch struct {
	o     Options
	parts *parts
	image string
	give  []*os.File // become QEMU's descriptors from 3 on
	keep  []*os.File // the host's ends: link, console
	disks []string   // QEMU's arguments for them
}

// pass hands a file to QEMU and returns its name there.
func (l *launch) pass(f *os.File) string {
	l.give = append(l.give, f)
	return fmt.Sprintf("/proc/self/fd/%d", 2+len(l.give))
}

// pipe makes a two-way pipe, keeps one end and passes the other, of which it
// returns the descriptor's number.
func (l *launch) pipe(name string) (int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socketpair: %w", err)
	}
	// Non-blocking before os.NewFile, so that a Close ends a Read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return 0, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	l.keep = append(l.keep, os.NewFile(uintptr(fds[0]), name))
	l.pass(os.NewFile(uintptr(fds[1]), name))
	return 2 + len(l.give), nil
}

func (l *launch) close() {
	for _, f := range append(l.give, l.keep...) {
		f.Close()
	}
}

// disk adds a virtio-blk disk.
func (l *launch) disk(file, serial, options string) {
	id := fmt.Sprintf("disk%d", len(l.disks)/4)
	l.disks = append(l.disks,
		"-drive", fmt.Sprintf("if=none,id=%s,format=raw,file=%s%s", id, strings.ReplaceAll(file, ",", ",,"), options),
		"-device", fmt.Sprintf("virtio-blk-pci,drive=%s,serial=%s", id, serial))
}

// prepare makes the link, the console, the initramfs and the disks, in the order
// of the descriptors that arguments relies on.
func (l *launch) prepare(ctx context.Context) error {
	for _, name := range []string{"link", "console"} { // 3 and 4
		if _, err := l.pipe(name); err != nil {
			return err
		}
	}
	initrd, err := l.parts.initrd(ctx, l.o.Files)
	if err != nil {
		return err
	}
	l.pass(initrd) // 5
	l.disk(l.image, "rig-image", ",readonly=on")
	if l.o.Scratch > 0 {
		scratch, err := l.parts.scratch(ctx, l.o.Scratch)
		if err != nil {
			return err
		}
		l.disk(l.pass(scratch), "rig-scratch", ",cache=unsafe,discard=unmap")
	}
	for _, d := range l.o.Disks {
		options := ",discard=unmap"
		if d.ReadOnly {
			options = ",readonly=on"
		}
		l.disk(d.Path, d.Serial, options)
	}
	return nil
}

func (l *launch) arguments() []string {
	args := append(l.parts.tools.Firmware(),
		"-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", cpuModel,
		"-smp", fmt.Sprint(l.o.CPUs), "-m", fmt.Sprintf("%dM", l.o.Memory>>20),
		"-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
		// The ELF kernel, started by PVH: nothing to decompress in emulation.
		"-kernel", l.parts.l1Kernel().Vmlinux, "-initrd", "/proc/self/fd/5", "-append", fmt.Sprintf("%s tsc_early_khz=%d %s", cmdline, tscKHz(), l.o.Cmdline),
		"-device", "virtio-serial-pci", "-chardev", "socket,id=link,fd=3", "-device", "virtserialport,chardev=link,name="+link.PortName,
		"-chardev", "socket,id=console,fd=4", "-serial", "chardev:console",
		"-device", "virtio-rng-pci")
	return append(args, l.disks...)
}

// start starts QEMU; the machine takes over the host's ends of its pipes.
func (l *launch) start(ctx context.Context) (*Machine, error) {
	cmd, err := l.parts.tools.Command(context.WithoutCancel(ctx), "qemu-system-x86_64", l.arguments()...)
	if err != nil {
		return nil, err
	}
	vm, err := startEmulator(cmd, l.give)
	if err != nil {
		return nil, err
	}
	for _, f := range l.give { // QEMU's alone from here on: its end is theirs
		f.Close()
	}
	l.give = nil
	console := l.o.Console
	if console == nil {
		console = io.Discard
	}
	writable := slices.ContainsFunc(l.o.Disks, func(d Disk) bool { return !d.ReadOnly })
	m := newMachine(vm, l.keep[0], l.keep[1], console, l.o.Hang, writable)
	l.keep = nil
	m.unbind = context.AfterFunc(ctx, func() { m.stop(context.Cause(ctx)) })
	return m, nil
}
