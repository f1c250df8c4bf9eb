package main

import (
	"context"
	"errors"
	"os"

	"github.com/urfave/cli/v3"

	"splitvm/remote"
	"splitvm/remote/blockclient"
)

// importVolume makes a volume of what a file holds.
func importVolume(ctx context.Context, c *cli.Command, monitors []monitorClient) error {
	name := c.Args().Get(0)
	file, size, err := openRawImage(c.Args().Get(1))
	if err != nil {
		return err
	}
	defer file.Close()
	id := newVolumeID()
	err = everywhere(ctx, c, monitors, name, func(m monitorClient) (remote.VolumeInfo, error) {
		return m.CreateVolume(ctx, id, name, uint64(size))
	})
	if err != nil {
		return err
	}
	if err := copyIntoVolume(ctx, monitors, name, file, size); err != nil {
		return errors.Join(err, deleteVolume(context.WithoutCancel(ctx), c, monitors))
	}
	return nil
}

// copyIntoVolume writes a file to all replicas.
func copyIntoVolume(ctx context.Context, monitors []monitorClient, name string, file *os.File, size int64) error {
	cfg := blockclient.Config{Name: name}
	for _, m := range monitors {
		cfg.Monitors = append(cfg.Monitors, m.address)
	}
	v, err := blockclient.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(v.Fill(ctx, file, size), v.Close())
}
