package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"splitvm/images/store"
	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/volumes"
)

// A base is an image's root at storage monitors: a read-only volume that is named by
// its content, so that it is there once however many images and guests have it.
type base struct {
	name     string
	id       remote.VolumeID
	path     string // of the root in the image store
	bytes    int64
	monitors []monitorClient
}

// baseTimeout bounds the control calls about one base; its content takes as
// long as it takes.
const baseTimeout = 30 * time.Second

// openBase connects to the monitors. Close the base.
func openBase(s *store.Store, i store.Image, addresses []string) (*base, error) {
	digest, err := hex.DecodeString(i.RootSHA.Hex)
	if err != nil || len(digest) < 8 {
		return nil, fmt.Errorf("image %v: its root has the digest %q", i.ID, i.RootSHA)
	}
	b := &base{name: "image/" + i.RootSHA.Hex, id: remote.VolumeID(binary.LittleEndian.Uint64(digest) | 1), path: s.RootPath(i), bytes: i.Bytes}
	for _, a := range addresses {
		m, err := volumes.Dial(a)
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		b.monitors = append(b.monitors, monitorClient{a, m})
	}
	return b, nil
}

func (b *base) Close() error {
	var errs []error
	for _, m := range b.monitors {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// bring sees to it that every monitor has the base.
func (b *base) bring(ctx context.Context) error {
	for _, m := range b.monitors {
		info, err := m.InspectVolume(ctx, b.name)
		if remote.KindOf(err) == remote.NoVolume {
			fmt.Fprintf(os.Stderr, "splitvm: bringing the image to %s\n", m.address)
			err = b.upload(ctx, m)
		}
		if err == nil && info.Name != "" && !info.ReadOnly {
			err = fmt.Errorf("volume %s is no image, but can be written: delete or rename it", b.name)
		}
		if err != nil {
			return fmt.Errorf("image at storage monitor %s: %w", m.address, err)
		}
	}
	return nil
}

// upload fills a volume of another name and takes the base from it, which so is
// there whole or not at all.
func (b *base) upload(ctx context.Context, m monitorClient) (err error) {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := sweepUploads(ctx, m); err != nil {
		return err
	}
	id := newVolumeID()
	upload := fmt.Sprintf("%s%016x", uploadPrefix, uint64(id))
	if _, err := m.CreateVolume(ctx, id, upload, uint64(b.bytes)); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), baseTimeout)
		defer cancel()
		err = errors.Join(err, m.DeleteVolume(ctx, upload))
	}()
	if err := fillVolume(ctx, m.address, upload, f, b.bytes); err != nil {
		return err
	}
	_, err = m.SnapshotVolume(ctx, upload, b.id, b.name)
	if remote.KindOf(err) == remote.VolumeExists {
		return nil // another vNode was faster, with the same content
	}
	return err
}

// uploadPrefix begins the names of volumes that become a base.
const uploadPrefix = "upload/"

// abandonedAfter is how long an upload may have no writer.
const abandonedAfter = 10 * time.Minute

// sweepUploads deletes what uploads left that were killed.
func sweepUploads(ctx context.Context, m remote.Volumes) error {
	list, err := m.ListVolumes(ctx)
	if err != nil {
		return err
	}
	for _, name := range abandonedUploads(list, time.Now()) {
		switch err := m.DeleteVolume(ctx, name); remote.KindOf(err) {
		case remote.OK, remote.NoVolume, remote.Busy: // somebody was faster, or has it after all
		default:
			return fmt.Errorf("take away %s, which a killed run left: %w", name, err)
		}
	}
	return nil
}

// abandonedUploads are those that nobody fills: who does has it open but for a moment.
func abandonedUploads(list []remote.VolumeInfo, now time.Time) (names []string) {
	for _, v := range list {
		if strings.HasPrefix(v.Name, uploadPrefix) && !v.Writer && now.Sub(v.Created) > abandonedAfter {
			names = append(names, v.Name)
		}
	}
	return names
}

func fillVolume(ctx context.Context, address, name string, src io.ReaderAt, bytes int64) error {
	v, err := blockclient.Open(ctx, blockclient.Config{Monitors: []string{address}, Name: name})
	if err != nil {
		return err
	}
	return errors.Join(v.Fill(ctx, src, bytes), v.Close())
}

// clone makes a volume of the base that a guest can write, at every monitor. What it
// returns last deletes it.
func (b *base) clone(ctx context.Context) (name string, remove func() error, err error) {
	id := newVolumeID()
	name = fmt.Sprintf("root/%016x", uint64(id))
	remove, err = makeEverywhere(b.monitors, name, func(m monitorClient) (remote.VolumeInfo, error) {
		return m.CloneVolume(ctx, b.name, id, name)
	})
	return name, remove, err
}

// openRootVolume makes the image's root the first volume: the base itself where
// its file system can't be written or is not to be, and otherwise a clone that goes with the guest.
func (n *vnode) openRootVolume(ctx context.Context, s *store.Store, i store.Image) error {
	b, err := openBase(s, i, n.o.storage)
	if err != nil {
		return err
	}
	n.onClose(b.Close)
	if err := b.bring(ctx); err != nil {
		return err
	}
	v := volumeOption{name: b.name, readOnly: true, serial: rootSerial}
	if i.Writable() && !n.o.image.readOnly {
		name, remove, err := b.clone(ctx)
		if err != nil {
			return fmt.Errorf("root for the guest at the storage monitors: %w", err)
		}
		n.onClose(remove)
		v.name, v.readOnly, n.o.overlay = name, false, false
	}
	n.o.volumes = append([]volumeOption{v}, n.o.volumes...)
	return nil
}
