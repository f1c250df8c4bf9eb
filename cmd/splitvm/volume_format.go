package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"splitvm/images/rootfs"
	"splitvm/remote/blockclient"
)

// volumeFormat checks what --format asks for.
func volumeFormat(s string) error {
	if s != "" && s != string(rootfs.Ext4) {
		return fmt.Errorf("unknown file system %q; give ext4", s)
	}
	return nil
}

// formatVolume makes a file system in a sparse file and sends what is in it.
func formatVolume(ctx context.Context, monitors []monitorClient, name string, size uint64) error {
	f, err := os.CreateTemp("", "splitvm-format.")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if err := f.Truncate(int64(size)); err != nil {
		return err
	}
	if err := rootfs.Format(ctx, f.Name(), name); err != nil {
		return err
	}
	var addresses []string
	for _, m := range monitors {
		addresses = append(addresses, m.address)
	}
	v, err := blockclient.Open(ctx, blockclient.Config{Monitors: addresses, Name: name})
	if err != nil {
		return err
	}
	return errors.Join(v.Fill(ctx, f, int64(size)), v.Close())
}
