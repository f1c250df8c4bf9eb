package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"splitvm/guest/init/cmdline"
	"splitvm/images/rootfs"
	"splitvm/images/store"
	"splitvm/remote"
	"splitvm/remote/volumes"
)

// upperSerial is the serial number of the disk that takes what a guest writes to
// the root of its image.
const upperSerial = "splitvm-upper"

// openUpper makes that disk, empty, which goes with the guest.
func (n *vnode) openUpper(ctx context.Context, s *store.Store) error {
	n.upper = cmdline.Device{Kind: cmdline.BySerial, Name: upperSerial}
	open := n.openLocalUpper
	if len(n.o.storage) > 0 {
		open = n.openRemoteUpper
	}
	if err := open(ctx, s); err != nil {
		return fmt.Errorf("disk for what the guest writes to its root: %w", err)
	}
	return nil
}

// openLocalUpper makes a sparse file without a name, which ends with this
// process however that ends.
func (n *vnode) openLocalUpper(ctx context.Context, s *store.Store) error {
	f, err := os.CreateTemp(s.Dir(), ".upper.")
	if err != nil {
		return err
	}
	n.onClose(f.Close)
	err = f.Truncate(int64(n.o.image.rootSize))
	if err == nil {
		err = rootfs.Format(ctx, f.Name(), upperSerial)
	}
	if err := errors.Join(err, os.Remove(f.Name())); err != nil {
		return err
	}
	n.o.disks = append(n.o.disks, diskOption{path: fmt.Sprintf("/proc/self/fd/%d", f.Fd()), serial: upperSerial})
	return nil
}

// openRemoteUpper makes a volume at the storage monitors.
func (n *vnode) openRemoteUpper(ctx context.Context, _ *store.Store) error {
	id := newVolumeID()
	name := fmt.Sprintf("root/%016x", uint64(id))
	var monitors []monitorClient
	for _, a := range n.o.storage {
		m, err := volumes.Dial(a)
		if err != nil {
			return err
		}
		n.onClose(m.Close)
		monitors = append(monitors, monitorClient{a, m})
	}
	remove, err := makeEverywhere(monitors, name, func(m monitorClient) (remote.VolumeInfo, error) {
		return m.CreateVolume(ctx, id, name, n.o.image.rootSize)
	})
	if err != nil {
		return err
	}
	n.onClose(remove)
	if err := formatVolume(ctx, monitors, name, n.o.image.rootSize); err != nil {
		return err
	}
	n.o.volumes = append(n.o.volumes, volumeOption{name: name, serial: upperSerial})
	return nil
}

// makeEverywhere makes a volume at each monitor, or at none. What it returns first deletes
// it.
func makeEverywhere(monitors []monitorClient, name string, at func(monitorClient) (remote.VolumeInfo, error)) (remove func() error, err error) {
	made := 0
	remove = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), baseTimeout)
		defer cancel()
		var errs []error
		for _, m := range monitors[:made] {
			errs = append(errs, m.DeleteVolume(ctx, name))
		}
		return errors.Join(errs...)
	}
	for _, m := range monitors {
		if _, err := at(m); err != nil {
			return nil, errors.Join(err, remove())
		}
		made++
	}
	return remove, nil
}
