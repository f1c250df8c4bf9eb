// Demo is what `make run` runs: a rack comes up, a vNode with Debian's kernel runs
// on it from an image with most of its memory and its disk at monitors, what that
// cost beside the same guest local is shown, and the rack goes down. Where KVM runs
// a guest's ring 0 natively that happens directly on this machine, else inside the
// nested rig; a bare guest on a rack of this machine's own KVM follows, which
// runs at native speed there too.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig"
	"splitvm/integration/rig/debs"
	"splitvm/vmm/kvm"
	"splitvm/vmm/probe"
)

var (
	//go:embed demo.sh
	linux string
	//go:embed bare.sh
	bare string
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err != nil && interrupted: // what that did to the parts says nothing
		fmt.Fprintln(os.Stderr, "make run: interrupted; what it had started is ended")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "make run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	why := whyNotHere(ctx)
	if why == "" {
		return here(ctx)
	}
	fmt.Printf("%s.\nSo the guests run inside the rig, an emulated machine with nested virtualization:\n"+
		"slow, but on the same KVM interfaces as hardware. A bare guest on this machine's own KVM follows.\n", why)
	if err := inRig(ctx); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return nil // there is no KVM of its own
	}
	return script(ctx, bare, nil)
}

// whyNotHere says why Linux guests can't run on this machine's own KVM; empty
// if they can.
func whyNotHere(ctx context.Context) string {
	sys, err := kvm.Open("/dev/kvm")
	if err != nil {
		return fmt.Sprintf("This machine has no usable KVM (%v)", err)
	}
	defer sys.Close()
	speed, err := probe.Ring0(ctx, sys)
	if err != nil {
		return fmt.Sprintf("This machine's KVM does not run guests (%v)", err)
	}
	if speed.Emulated() {
		return fmt.Sprintf("This machine's KVM emulates a guest's ring 0 at %.1f million instructions a second", speed.MIPS)
	}
	return ""
}

// here runs the script on this machine, with the kernel and busybox out of the
// cache.
func here(ctx context.Context) error {
	cache, err := debs.Open("", os.Stderr)
	if err != nil {
		return err
	}
	kernel, err := cache.Kernel(ctx, debs.Linux612)
	if err != nil {
		return err
	}
	tools, err := cache.Tools(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "splitvm-demo.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := tools.CopyTo(dir, "busybox"); err != nil {
		return err
	}
	busybox, err := find(dir, "busybox")
	if err != nil {
		return err
	}
	return script(ctx, linux, []string{"MIB=768", "KERNEL=" + kernel.BzImage, "MODULES=" + kernel.Modules, "BUSYBOX=" + busybox, "MKE2FS=mke2fs"})
}

// script runs a script on this machine, which is asked to end with ctx.
func script(ctx context.Context, text string, env []string) error {
	splitvm, err := filepath.Abs("bin/splitvm")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", text)
	cmd.Env = append(os.Environ(), append(env, "PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin", "SPLITVM="+splitvm)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	return cmd.Run()
}

// find returns the path of the program below dir.
func find(dir, name string) (path string, err error) {
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == name && d.Type().IsRegular() {
			path = p
		}
		return err
	})
	if err == nil && path == "" {
		err = fmt.Errorf("no %s in %s", name, dir)
	}
	return path, err
}

// inRig boots the rig and runs the script in it.
func inRig(ctx context.Context) (err error) {
	global := rig.File{Host: "bin/splitvm-global", Rig: "/bin/splitvm-global"}
	m, err := rig.StartWithSplitvm(ctx, rig.Options{Files: []rig.File{global}}, "bin/splitvm")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	cmd := rig.Shell("export MIB=192 SPLITVM=splitvm KERNEL=/kernels/6.12/bzImage MKE2FS=mkfs.ext4\n" +
		"export MODULES=$(ls -d /kernels/6.12/lib/modules/*) BUSYBOX=$(readlink -f $(which busybox))\n" +
		"script=$(cat); exec sh -c \"$script\" </dev/null")
	cmd.Stdin = strings.NewReader(linux)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return m.Run(ctx, cmd)
}
