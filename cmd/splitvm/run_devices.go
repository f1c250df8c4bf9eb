package main

import (
	"context"
	"fmt"
	"path"

	"splitvm/guest/init/cmdline"
	"splitvm/vmm/tap"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/rawfile"
	virtionet "splitvm/vmm/virtio/net"
	"splitvm/vmm/virtio/rng"
	"splitvm/vmm/virtio/vsock"
)

// openDisks opens and locks the disks; the first is the guest's /dev/vda.
func (n *vnode) openDisks(context.Context) error {
	for i, d := range n.o.disks {
		file, err := rawfile.Open(rawfile.Config{Path: d.path, ReadOnly: d.readOnly, Direct: d.direct})
		if err != nil {
			return err
		}
		n.onClose(file.Close)
		dev, err := block.New(block.Config{Backend: file, Serial: d.serialOf(i), Queues: n.o.vcpus})
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.path, err)
		}
		n.devices = append(n.devices, dev)
	}
	return nil
}

// openNets makes a network device for each --net.
func (n *vnode) openNets(ctx context.Context) error {
	for i := range n.o.nets {
		o := &n.o.nets[i]
		open := n.openTap
		if o.tap == "" {
			open = n.openUserNet
		}
		backend, mtu, err := open(ctx, o)
		if err != nil {
			return err
		}
		dev, err := virtionet.New(virtionet.Config{Backend: backend, MAC: o.mac, MTU: uint16(mtu), Log: n.log})
		if err != nil {
			return fmt.Errorf("network device: %w", err)
		}
		n.devices = append(n.devices, dev)
	}
	return nil
}

// openTap opens a tap, makes it if it is not there, and brings it up.
func (n *vnode) openTap(_ context.Context, o *netOption) (virtionet.Backend, int, error) {
	t, err := tap.Open(tap.Config{Name: o.tap, Up: true})
	if err != nil {
		return nil, 0, err
	}
	n.onClose(t.Close)
	mtu, err := t.MTU()
	return t, mtu, err
}

// guestCID is a guest's address on its own vsock; nobody else is on it.
const guestCID = 3

// openVsock makes the sockets through which the host reaches the guest's agent
// and, with --vsock, everybody its ports.
func (n *vnode) openVsock(context.Context) error {
	dev, err := vsock.New(vsock.Config{CID: guestCID, Path: n.o.vsock, Log: n.log})
	if err != nil {
		return err
	}
	n.onClose(dev.Close)
	n.sockets = dev
	n.devices = append(n.devices, dev)
	return nil
}

func (n *vnode) addEntropy(context.Context) error {
	dev, err := rng.New(rng.Config{})
	if err != nil {
		return err
	}
	n.devices = append(n.devices, dev)
	return nil
}

// serialOf is the serial number of the disk that is the i-th.
func (d diskOption) serialOf(i int) string {
	if d.serial != "" {
		return d.serial
	}
	return fmt.Sprintf("disk-%d", i)
}

// mounts are the disks and volumes that the guest's init mounts, which knows them by their
// serial numbers.
func (n *vnode) mounts() []cmdline.Mount {
	var list []cmdline.Mount
	for i, d := range n.o.disks {
		if d.mount != "" {
			device := cmdline.Device{Kind: cmdline.BySerial, Name: d.serialOf(i)}
			list = append(list, cmdline.Mount{Device: device, Path: path.Clean(d.mount), ReadOnly: d.readOnly})
		}
	}
	for _, v := range n.o.volumes {
		if v.mount != "" {
			device := cmdline.Device{Kind: cmdline.BySerial, Name: v.serial}
			list = append(list, cmdline.Mount{Device: device, Path: v.mount, ReadOnly: v.readOnly})
		}
	}
	return list
}
