package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"

	"splitvm/images/layer"
	"splitvm/images/oci"
	"splitvm/images/store"
)

const imageDescription = `Images are what guests run: the file system, and the command, environment,
user and working directory that go with it. They are kept in a folder of yours
(--store), by content: images that share layers share them there.

Examples:
   splitvm image pull debian:bookworm-slim
   splitvm run debian:bookworm-slim -- cat /etc/os-release
   splitvm image import --name tools ./rootfs.tar.xz
   splitvm image ls
   splitvm image rm tools`

func imageCommand() *cli.Command {
	return &cli.Command{
		Name:        "image",
		Usage:       "manage the images that guests run",
		Description: imageDescription,
		Commands:    []*cli.Command{imagePullCommand(), imageImportCommand(), imageListCommand(), imageInspectCommand(), imageRemoveCommand(), imageKernelCommand()},
	}
}

func storeFlag() cli.Flag {
	return &cli.StringFlag{Name: "store", Usage: "`DIR` of the image store (default: in the user's data folder)", Sources: cli.EnvVars(store.DirEnv)}
}

// oneArg gives the one argument of a command.
func oneArg(c *cli.Command, what string) (string, error) {
	if c.Args().Len() != 1 {
		return "", &exitError{exitUsage, fmt.Errorf("give one %s (see `%s --help`)", what, c.FullName())}
	}
	return c.Args().First(), nil
}

// addFlags are those of all commands that add images.
func addFlags(more ...cli.Flag) []cli.Flag {
	return append(more, storeFlag(),
		&cli.StringFlag{Name: "max-size", Value: "64G", Usage: "refuse images whose files, holes included, have more than `SIZE`", Validator: sizeFlag},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress, and print only the image's ID"})
}

// adding opens the store and makes the options of a command that adds an image. What it returns last ends the
// display of progress.
func adding(c *cli.Command) (*store.Store, oci.Options, func(), error) {
	s, err := store.Open(c.String("store"))
	if err != nil {
		return nil, oci.Options{}, nil, err
	}
	size, err := parseSize(c.String("max-size"))
	if err != nil {
		return nil, oci.Options{}, nil, err
	}
	o := oci.Options{Name: c.String("name"), Limits: layer.Limits{Bytes: int64(size)}}
	if c.Bool("quiet") {
		return s, o, func() {}, nil
	}
	p := newProgress(c.Root().ErrWriter)
	o.Progress = p
	return s, o, p.close, nil
}

// added prints what was added.
func added(c *cli.Command, i store.Image) error {
	if c.Bool("quiet") {
		_, err := fmt.Fprintln(c.Root().Writer, i.ID)
		return err
	}
	_, err := fmt.Fprintf(c.Root().Writer, "%s  %s  %s\n", oci.Short(i.Names[0]), i.ID, units.BytesSize(float64(i.Bytes)))
	return err
}

func imagePullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "fetch an image from a registry",
		ArgsUsage: "[REGISTRY/]NAME[:TAG|@DIGEST]",
		Description: `Fetches an image and makes the root file system of its layers. What an
interrupted pull has fetched is not fetched again for a day. Logins are those of
docker and podman.

Examples:
   splitvm image pull debian:bookworm-slim
   splitvm image pull --name db registry.example/team/db@sha256:0123...`,
		Flags: addFlags(
			&cli.StringFlag{Name: "name", Usage: "call it `NAME` here"},
			&cli.BoolFlag{Name: "plain-http", Usage: "the registry has no TLS"}),
		Action: func(ctx context.Context, c *cli.Command) error {
			name, err := oneArg(c, "image")
			if err != nil {
				return err
			}
			s, o, done, err := adding(c)
			if err != nil {
				return err
			}
			o.PlainHTTP = c.Bool("plain-http")
			i, err := oci.Pull(ctx, s, name, o)
			done()
			if err != nil {
				return err
			}
			return added(c, i)
		},
	}
}

func imageListCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Aliases: []string{"list"}, Usage: "list the images that are here",
		Description: `Examples:
   splitvm image ls
   splitvm image ls -o json`,
		Flags: []cli.Flag{storeFlag(), outputFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			s, err := store.Open(c.String("store"))
			if err != nil {
				return err
			}
			list, err := s.List()
			if err != nil {
				return err
			}
			t := table{head: []string{"NAME", "ID", "SIZE", "LAYERS", "ADDED"}}
			for _, i := range list {
				for _, name := range i.Names {
					t.rows = append(t.rows, []string{oci.Short(name), i.ID.Hex[:12], units.BytesSize(float64(i.Bytes)), fmt.Sprint(len(i.Layers)),
						units.HumanDuration(time.Since(i.Added)) + " ago"})
				}
			}
			return print(c, list, t)
		},
	}
}

func imageInspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "show all that is known of an image", ArgsUsage: "NAME|ID",
		Description: `Example:
   splitvm image inspect debian:bookworm-slim`,
		Flags: []cli.Flag{storeFlag(), outputBy("json")},
		Action: func(_ context.Context, c *cli.Command) error {
			name, err := oneArg(c, "image")
			if err != nil {
				return err
			}
			s, err := store.Open(c.String("store"))
			if err != nil {
				return err
			}
			i, err := findImage(s, name)
			if err != nil {
				return err
			}
			return print(c, i, imageTable(&i))
		},
	}
}

// imageTable is what of an image people look for.
func imageTable(i *store.Image) table {
	t := table{head: []string{"WHAT", "VALUE"}}
	add := func(what string, values ...string) {
		for _, v := range values {
			t.rows = append(t.rows, []string{what, v})
			what = ""
		}
	}
	add("id", i.ID.String())
	add("names", i.Names...)
	add("source", i.Source)
	add("added", i.Added.Local().Format(time.DateTime))
	add("root", fmt.Sprintf("%s of %s, %v", units.BytesSize(float64(i.Bytes)), i.FSType, i.RootSHA))
	for n, l := range i.Layers {
		add(fmt.Sprintf("layer %d", n), l.String())
	}
	c := &i.Config.Config
	add("user", c.User)
	add("directory", c.WorkingDir)
	add("command", fmt.Sprintf("%q", append(slices.Clone(c.Entrypoint), c.Cmd...)))
	add("environment", c.Env...)
	return t
}

// findImage finds an image by any of the names that users have for it.
func findImage(s *store.Store, name string) (store.Image, error) {
	i, err := s.Find(oci.FullName(name))
	if errors.Is(err, store.ErrNotFound) {
		return s.Find(name)
	}
	return i, err
}

func imageRemoveCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Aliases: []string{"remove"}, Usage: "remove images", ArgsUsage: "NAME|ID...",
		Description: `An image that a guest is running on is not removed. What of it is at storage
monitors stays there: the volume image/DIGEST, with the root's digest as image inspect tells it.

Example:
   splitvm image rm debian:bookworm-slim`,
		Flags: []cli.Flag{storeFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			if !c.Args().Present() {
				return &exitError{exitUsage, errors.New("give the images to remove (see `splitvm image rm --help`)")}
			}
			s, err := store.Open(c.String("store"))
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range c.Args().Slice() {
				err := s.Remove(ctx, oci.FullName(name))
				if errors.Is(err, store.ErrNotFound) {
					err = s.Remove(ctx, name)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}
