package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v3"

	"splitvm/images/oci"
)

func imageImportCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "add an image from files",
		ArgsUsage: "PATH [-- COMMAND [ARG...]]",
		Description: `PATH is an OCI layout or an archive of one, what docker save or podman save
writes, an archive (tar, gzip, xz, zstd, bzip2) or a folder of a root file system, or a raw
disk with ext4, squashfs or erofs on it. What comes without a configuration gets one
by COMMAND and the options.

Examples:
   docker save web:v2 | gzip >web.tar.gz && splitvm image import web.tar.gz
   splitvm image import --name debian ./rootfs.tar.xz -- /bin/bash
   splitvm image import --name mine --user app --workdir /srv ./tree -- /srv/run`,
		Flags: addFlags(
			&cli.StringFlag{Name: "name", Usage: "call it `NAME`, or take the one of that name where several are in the file"},
			&cli.StringFlag{Name: "entrypoint", Usage: "`PROGRAM` that gets commands as its arguments"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`NAME=VALUE` for its command; may be repeated"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "`DIR` in which its command runs"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`USER[:GROUP]` as which its command runs"}),
		Action: importImage,
	}
}

func importImage(ctx context.Context, c *cli.Command) error {
	path, command, err := splitImage(c.Args().Slice(), argumentsOf(c))
	if err == nil && path == "" {
		err = errors.New("give what to import")
	}
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%w (see `%s --help`)", err, c.FullName())}
	}
	config := v1.Config{Cmd: command, Env: c.StringSlice("env"), WorkingDir: c.String("workdir"), User: c.String("user")}
	for _, e := range config.Env {
		if strings.IndexByte(e, '=') < 1 {
			return &exitError{exitUsage, fmt.Errorf("--env %q: give NAME=VALUE", e)}
		}
	}
	if program := c.String("entrypoint"); program != "" {
		config.Entrypoint = []string{program}
	}
	s, o, done, err := adding(c)
	if err != nil {
		return err
	}
	i, err := oci.Import(ctx, s, path, config, o)
	done()
	if err != nil {
		return err
	}
	return added(c, i)
}
