package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v3"

	"splitvm/images/oci"
	"splitvm/images/store"
)

// imageOptions are what of `run` concerns an image.
type imageOptions struct {
	name       string // of the image; empty: none
	store      string
	entrypoint *string // nil: the image's
	readOnly   bool
	rootSize   uint64 // of the disk that takes what the guest writes to its root; 0: it goes into memory
}

func imageRunFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "entrypoint", Usage: "`PROGRAM` to run instead of the image's entry point; its own command is not used then"},
		&cli.BoolFlag{Name: "read-only", Usage: "the guest can't write to its root; otherwise it writes into memory, and that is gone at its end"},
		&cli.StringFlag{Name: "root-size", Validator: sizeFlag,
			Usage: "what the guest writes to its root goes to a disk of `SIZE`, at the storage monitors if there are any, instead of into memory; it is gone at the guest's end all the same"},
		storeFlag(),
	}
}

func imageOptionsOf(c *cli.Command, name string) imageOptions {
	o := imageOptions{name: name, store: c.String("store"), readOnly: c.Bool("read-only")}
	if c.IsSet("entrypoint") {
		program := c.String("entrypoint")
		o.entrypoint = &program
	}
	return o
}

// splitImage tells the image's name from the command, which is what came after
// "--" in all arguments of the process.
func splitImage(args, all []string) (image string, command []string, err error) {
	after := 0
	if i := slices.Index(all, "--"); i >= 0 {
		after = min(len(all)-i-1, len(args))
	}
	before := args[:len(args)-after]
	if len(before) > 1 {
		return "", nil, fmt.Errorf("%q: give the command after --, as in `splitvm run IMAGE -- COMMAND`", before[1])
	}
	if len(before) == 1 {
		image = before[0]
	}
	return image, args[len(before):], nil
}

// openImage makes the image's root the first disk, and its command the guest's.
func (n *vnode) openImage(ctx context.Context) error {
	if n.o.image.name == "" {
		return nil
	}
	s, err := store.Open(n.o.image.store)
	if err != nil {
		return err
	}
	i, err := findImage(s, n.o.image.name)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w; `splitvm image pull %s` fetches it from a registry", err, oci.Short(oci.FullName(n.o.image.name)))
	}
	if err != nil {
		return err
	}
	use, err := s.Use(i)
	if err != nil {
		return err
	}
	n.onClose(use.Close)
	if err := n.o.takeConfig(i.Config.Config); err != nil {
		return err
	}
	n.o.overlay = !n.o.image.readOnly
	if len(n.o.storage) > 0 {
		err = n.openRootVolume(ctx, s, i)
	} else {
		n.o.disks = append([]diskOption{{path: s.RootPath(i), readOnly: true, serial: rootSerial}}, n.o.disks...)
	}
	if err == nil && n.o.overlay && n.o.image.rootSize > 0 {
		err = n.openUpper(ctx, s)
	}
	return err
}

// rootSerial is the serial number of the disk that has an image's root, wherever
// it is among the guest's disks.
const rootSerial = "splitvm-root"

// takeConfig completes the command with what the image says, as a container
// engine does.
func (o *options) takeConfig(c v1.Config) error {
	args := o.command
	entrypoint := c.Entrypoint
	if len(args) == 0 && o.image.entrypoint == nil {
		args = c.Cmd
	}
	if o.image.entrypoint != nil {
		entrypoint = nil
		if *o.image.entrypoint != "" {
			entrypoint = []string{*o.image.entrypoint}
		}
	}
	if o.command = slices.Concat(entrypoint, args); len(o.command) == 0 {
		return fmt.Errorf("image %s has no command of its own: give one after --", o.image.name)
	}
	var err error
	if o.env, err = joinEnv(c.Env, o.env); err != nil {
		return err
	}
	for _, d := range []struct {
		option *string
		image  string
	}{{&o.workdir, c.WorkingDir}, {&o.workdir, "/"}, {&o.user, c.User}} {
		if *d.option == "" {
			*d.option = d.image
		}
	}
	if !strings.HasPrefix(o.workdir, "/") {
		o.workdir = "/" + o.workdir
	}
	return nil
}

// joinEnv lays the user's entries over the image's.
func joinEnv(image, own []string) ([]string, error) {
	var env []string
	place := map[string]int{}
	for _, e := range slices.Concat(image, own) {
		name, value, _ := strings.Cut(e, "=")
		if name == "" {
			return nil, fmt.Errorf("environment %q: give NAME=VALUE", e)
		}
		if _, again := place[name]; !again {
			place[name] = len(env)
			env = append(env, "")
		}
		env[place[name]] = name + "=" + value
	}
	return env, nil
}
