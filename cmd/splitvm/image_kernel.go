package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"splitvm/images/store"
)

func imageKernelCommand() *cli.Command {
	return &cli.Command{
		Name:  "kernel",
		Usage: "manage the kernels that guests run",
		Description: `A guest that asks for no --kernel gets the default one: the first that was
imported, unless another was made so. --kernel NAME takes another.

Examples:
   splitvm image kernel import ./linux-image-6.1.0-49-cloud-amd64_*.deb
   splitvm image kernel ls
   splitvm image kernel default 6.1.0-49-cloud-amd64`,
		Commands: []*cli.Command{kernelImportCommand(), kernelListCommand(), kernelDefaultCommand(), kernelRemoveCommand()},
	}
}

func kernelImportCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "take a kernel from a package, a folder or a file", ArgsUsage: "PACKAGE.deb|DIR|FILE",
		Description: `PACKAGE.deb is Debian's linux-image-*. Of a DIR such as /boot the running kernel
is taken, or the newest; FILE is a bzImage (vmlinuz) or an ELF vmlinux. Modules are
those of /lib/modules beside /boot, unless --modules names others.

Examples:
   apt-get download linux-image-6.1.0-49-cloud-amd64
   splitvm image kernel import ./linux-image-*.deb
   splitvm image kernel import /boot
   splitvm image kernel import bzImage --modules /lib/modules/6.12.1 --name mine --default`,
		Flags: []cli.Flag{storeFlag(),
			&cli.StringFlag{Name: "name", Usage: "call it `NAME` instead of its release"},
			&cli.StringFlag{Name: "modules", Usage: "`DIR` of the modules, lib/modules/RELEASE"},
			&cli.BoolFlag{Name: "default", Usage: "guests that ask for no kernel get this one"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			from, err := oneArg(c, "kernel")
			if err != nil {
				return err
			}
			s, err := store.Open(c.String("store"))
			if err != nil {
				return err
			}
			k, err := s.AddKernel(ctx, c.String("name"), from, c.String("modules"), c.Bool("default"))
			if err != nil {
				return err
			}
			if k.Modules == "" {
				fmt.Fprintf(c.Root().ErrWriter, "splitvm: no modules were found for %s: it has to have built in what a guest needs; --modules names others\n", k.Name)
			}
			_, err = fmt.Fprintln(c.Root().Writer, k.Name)
			return err
		},
	}
}

func kernelListCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Aliases: []string{"list"}, Usage: "list the kernels that are here",
		Description: `Example:
   splitvm image kernel ls`,
		Flags: []cli.Flag{storeFlag(), outputFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			s, err := store.Open(c.String("store"))
			if err != nil {
				return err
			}
			list, err := s.Kernels()
			if err != nil {
				return err
			}
			t := table{head: []string{"NAME", "RELEASE", "MODULES", "DEFAULT"}}
			for _, k := range list {
				t.rows = append(t.rows, []string{k.Name, k.Release, yesNo(k.Modules != ""), yesNo(k.Default)})
			}
			return print(c, list, t)
		},
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func kernelDefaultCommand() *cli.Command {
	return &cli.Command{
		Name: "default", Usage: "have guests get the kernel that ask for none", ArgsUsage: "NAME",
		Description: `Example:
   splitvm image kernel default 6.1.0-49-cloud-amd64`,
		Flags: []cli.Flag{storeFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			return withKernel(c, func(s *store.Store, name string) error { return s.SetDefaultKernel(name) })
		},
	}
}

func kernelRemoveCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Aliases: []string{"remove"}, Usage: "remove a kernel", ArgsUsage: "NAME",
		Description: `Example:
   splitvm image kernel rm 6.1.0-49-cloud-amd64`,
		Flags: []cli.Flag{storeFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			return withKernel(c, func(s *store.Store, name string) error { return s.RemoveKernel(ctx, name) })
		},
	}
}

func withKernel(c *cli.Command, f func(*store.Store, string) error) error {
	name, err := oneArg(c, "kernel")
	if err != nil {
		return err
	}
	s, err := store.Open(c.String("store"))
	if err != nil {
		return err
	}
	return f(s, name)
}

// findKernel completes kernel and modules out of the store, unless the kernel
// is a file.
func (o *options) findKernel() error {
	if _, err := os.Stat(o.kernel); o.kernel == "" || err != nil {
		if err := o.takeStoredKernel(); err != nil {
			return err
		}
	}
	if (len(o.command) > 0 || o.image.name != "") && o.initrd == "" && o.modules == "" {
		return errors.New("to run a command, give the kernel's modules with --modules /lib/modules/VERSION, or an --initrd whose /init is splitvm-init")
	}
	return nil
}

func (o *options) takeStoredKernel() error {
	s, err := store.Open(o.image.store)
	if err != nil {
		return err
	}
	k, err := s.Kernel(o.kernel)
	switch {
	case errors.Is(err, store.ErrNoKernel) && o.kernel == "":
		return errors.New("no kernel: give --kernel FILE, or import one for all guests with `splitvm image kernel import` (a .deb, or /boot)")
	case errors.Is(err, store.ErrNoKernel):
		return fmt.Errorf("--kernel %s: neither a file nor a kernel of the store (`splitvm image kernel ls`)", o.kernel)
	case err != nil:
		return err
	}
	o.kernel = k.File
	if o.modules == "" && o.initrd == "" {
		o.modules = k.Modules
	}
	return nil
}
