package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/boot"
	"splitvm/guest/cpuid"
	"splitvm/guest/init/cmdline"
	"splitvm/images/initramfs"
	"splitvm/vmm/pc"
)

// seedSize is what the guest's random number generator starts with, in bytes.
const seedSize = 32

// planBoot reads the kernel's headers and makes command line and initrd.
func (n *vnode) planBoot(context.Context) error {
	kernel, size, err := n.open("kernel", n.o.kernel)
	if err != nil {
		return err
	}
	p := boot.Params{Memory: n.memMap, RSDP: pc.RSDP, Seed: make([]byte, seedSize)}
	rand.Read(p.Seed)
	config := n.guestConfig()
	var extra []initramfs.File
	if p.Cmdline, err = n.cmdline(config); err != nil && config.Command != nil {
		// Too long for the kernel's command line: the command goes into a file.
		file, ferr := initramfs.CommandFile(*config.Command)
		if ferr != nil {
			return ferr
		}
		extra, config.Command = append(extra, file), nil
		p.Cmdline, err = n.cmdline(config)
	}
	if err != nil {
		return fmt.Errorf("%w: make --cmdline shorter", err)
	}
	if p.Initrd, p.InitrdSize, err = n.initrd(extra); err != nil {
		return err
	}
	n.log.Debug("boot", "cmdline", p.Cmdline, "initrd", p.InitrdSize)
	if n.plan, err = boot.Load(kernel, size, p); errors.Is(err, boot.ErrImage) {
		return fmt.Errorf("kernel %s: %w", n.o.kernel, err)
	}
	return err
}

// initrd is the user's, or splitvm's init with the kernel's modules.
func (n *vnode) initrd(extra []initramfs.File) (io.ReaderAt, int64, error) {
	var own bytes.Buffer
	switch {
	case n.o.initrd != "":
		f, size, err := n.open("initrd", n.o.initrd)
		if err != nil || len(extra) == 0 {
			return f, size, err
		}
		if _, err := io.Copy(&own, io.NewSectionReader(f, 0, size)); err != nil {
			return nil, 0, fmt.Errorf("initrd: %w", err)
		}
		own.Write(initramfs.Padding(size))
	case n.o.modules != "":
		program, err := companion("splitvm-init", "SPLITVM_INIT")
		if err != nil {
			return nil, 0, err
		}
		if err := initramfs.Write(&own, initramfs.Config{Init: program, Modules: n.o.modules}); err != nil {
			return nil, 0, fmt.Errorf("make the initrd: %w", err)
		}
	default:
		return nil, 0, nil
	}
	if len(extra) > 0 {
		if err := initramfs.Overlay(&own, extra...); err != nil {
			return nil, 0, fmt.Errorf("make the initrd: %w", err)
		}
	}
	return bytes.NewReader(own.Bytes()), int64(own.Len()), nil
}

// cmdline is what the kernel and the init are told; the user's words come last,
// so that they win.
func (n *vnode) cmdline(c cmdline.Config) (string, error) {
	words := []string{"console=ttyS0", "panic=-1"}
	if n.io.screen != nil {
		words = append(words, "console=hvc0")
	}
	if !n.o.verbose {
		words = append(words, "quiet")
	}
	guest, err := c.Words()
	if err != nil {
		return "", err
	}
	return cmdline.Join(append(append(words, guest...), strings.Fields(n.o.cmdline)...))
}

// guestConfig is what splitvm's own init is to do.
func (n *vnode) guestConfig() cmdline.Config {
	c := cmdline.Config{Debug: n.o.verbose, Mounts: n.mounts()}
	if n.o.image.name != "" {
		c.Hostname = n.o.name
		c.Root = cmdline.Root{Device: cmdline.Device{Kind: cmdline.BySerial, Name: rootSerial}, ReadOnly: n.o.image.readOnly, Overlay: n.o.overlay, OverlayDevice: n.upper}
	} else if len(n.o.disks)+len(n.o.volumes) > 0 {
		c.Root = cmdline.Root{Device: cmdline.Device{Kind: cmdline.ByPath, Name: "/dev/vda"}, ReadOnly: n.rootReadOnly(), Overlay: n.o.overlay}
	}
	for _, o := range n.o.nets {
		if o.addr.IsValid() {
			c.Links = append(c.Links, o.link())
		}
	}
	if len(n.o.command) > 0 {
		c.Command = &cmdline.Command{
			Argv: n.o.command, Env: n.o.env, Cwd: n.o.workdir, MakeCwd: n.o.image.name != "", User: n.o.user, TTY: n.io.screen != nil, Stdio: n.io.stdio(),
		}
	}
	return c
}

// cpuid gives each vCPU the leaves of the chosen CPU model.
func (n *vnode) cpuid() (func(int) []gokvm.CPUIDEntry2, error) {
	template, err := cpuid.ParseTemplate(n.o.cpu)
	if err != nil {
		return nil, err
	}
	supported, err := n.system.SupportedCPUID()
	if err != nil {
		return nil, err
	}
	leaves := make([][]gokvm.CPUIDEntry2, n.o.vcpus)
	for i := range leaves {
		leaves[i], err = cpuid.Build(cpuid.Config{
			Template: template, Supported: supported, Index: i, Count: n.o.vcpus, PhysBits: n.memMap.PhysBits(),
			IRQChip: true, TSCDeadline: n.system.Extension(gokvm.CapTSCDeadlineTimer) != 0,
		})
		if err != nil {
			return nil, fmt.Errorf("CPU model %s: %w", n.o.cpu, err)
		}
	}
	return func(i int) []gokvm.CPUIDEntry2 { return leaves[i] }, nil
}
