package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"splitvm/guest/boot"
	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
	"splitvm/guest/layout"
	"splitvm/remote/threads"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
	"splitvm/vmm/pc"
	"splitvm/vmm/probe"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block/volume"
	"splitvm/vmm/virtio/vsock"
)

// vnode is a guest that is being put together, and what has to be closed after
// it, in reverse order.
type vnode struct {
	o       options
	log     *slog.Logger
	system  *kvm.System
	memMap  layout.Map
	memory  *memory.Memory
	plan    *boot.Plan
	devices []virtio.Device
	sockets *vsock.Device
	io      *guestIO
	machine *pc.Machine
	far     *farMemory              // nil: the memory is local
	slow    string                  // how the host's KVM emulates ring 0; empty if it doesn't
	upper   cmdline.Device          // of what takes the writes to an image's root; zero: memory does
	written map[string]*volume.Disk // volumes that the guest may write, by name
	closers []func() error
}

// run starts the guest that o describes, waits for its end and returns the
// exit status. An error means that there was no guest, or that it died.
func run(ctx context.Context, o options) (status int, err error) {
	n := &vnode{o: o, log: o.runLog()}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.build(ctx); err != nil {
		return 0, err
	}
	running, stop := n.io.start(ctx, n.machine, o.withParent)
	defer stop()
	if n.far != nil {
		vm := n.machine.VM
		go n.far.guard(vm.Ended(), func(err error) { vm.End(vmm.Outcome{End: vmm.Failed, Err: err}) })
	}
	// A vCPU is in KVM_RUN most of the time, a disk's or volume's queue waits for it,
	// and a volume's connection waits for its monitor.
	if err := threads.Block(o.vcpus*(1+len(o.disks)+len(o.volumes)) + len(o.volumes)); err != nil {
		n.log.Debug("the runtime's timers stay exact, at the cost of some CPU time", "err", err)
	}
	outcome := n.machine.Run(running)
	n.io.hurry(ctx)
	return n.io.status(outcome)
}

// runLog is among the guest's own output.
func (o *options) runLog() *slog.Logger {
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelDebug
	}
	return vnodeLog(level, o.remote.rack.vnode)
}

// vnodeLog says of which vNode it is, if that is one of a rack.
func vnodeLog(level slog.Level, vnode uint64) *slog.Logger {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if vnode != 0 {
		log = log.With("vID", vnode)
	}
	return log
}

// build does each step in its order; what was done is undone by close.
func (n *vnode) build(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		n.openKVM, n.openImage, n.makeMemory, n.openIO, n.openDisks, n.openVolumes, n.openNets, n.openVsock, n.addEntropy, n.planBoot, n.makeMachine, n.openControl, n.warn,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *vnode) onClose(f func() error) { n.closers = append(n.closers, f) }

func (n *vnode) close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}

// openKVM also finds out whether a Linux kernel would take minutes.
func (n *vnode) openKVM(ctx context.Context) error {
	sys, err := kvm.Open("/dev/kvm")
	if err != nil {
		return fmt.Errorf("%w (`splitvm doctor` tells more)", err)
	}
	n.system = sys
	n.onClose(sys.Close)
	if name := probe.Emulator(); name != "" {
		n.slow = "is " + name
		return nil
	}
	speed, err := probe.Ring0(ctx, sys)
	if err == nil && speed.Emulated() {
		n.slow = fmt.Sprintf("does %.1f million instructions a second", speed.MIPS)
	}
	return err
}

// warn comes last, when nothing else is wrong.
func (n *vnode) warn(context.Context) error {
	if n.slow != "" {
		n.io.term.say("splitvm: warning: this host's KVM emulates a guest's ring 0 (it " + n.slow + `).
splitvm: a Linux kernel will need many minutes to boot, if it boots at all. Use a host with hardware
splitvm: virtualization, or ` + "`make rig-shell`" + `, a shell on an emulated one with everything in place.`)
	}
	return nil
}

func (n *vnode) makeMachine(context.Context) error {
	leaves, err := n.cpuid()
	if err != nil {
		return err
	}
	m, err := pc.New(pc.Config{
		System: n.system, Map: n.memMap, Memory: n.memory, VCPUs: n.o.vcpus, CPUID: leaves, Plan: n.plan,
		Devices: n.devices, Packed: n.o.packed, Serial: n.io.serial, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.machine = m
	n.onClose(m.Close)
	debug.FreeOSMemory() // what decompressing the kernel took
	return m.VM.Ports.Add(report.IOPort, 2, ioPort{n.io})
}

// open opens a file that the user named.
func (n *vnode) open(what, path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	n.onClose(f.Close)
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s %s: not a regular file", what, path)
	}
	return f, info.Size(), nil
}
