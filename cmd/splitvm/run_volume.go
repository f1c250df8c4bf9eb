package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"splitvm/remote/api"
	"splitvm/remote/blockclient"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/volume"
)

// volumeOption is one --volume.
type volumeOption struct {
	name     string
	readOnly bool
	steal    bool
	serial   string
	cache    uint64   // bytes; see volume.Config
	mount    string   // where in the guest; empty: nowhere
	at       []string // storage monitors that have it; none: those of --storage-monitor
}

// parseVolume reads NAME[:/DIR][,ro][,cache=SIZE][,steal][,serial=NAME][,at=ADDRESS...].
func parseVolume(s string) (volumeOption, error) {
	var v volumeOption
	for word := range fields(s) {
		serial, isSerial := strings.CutPrefix(word, "serial=")
		at, isAt := strings.CutPrefix(word, "at=")
		cache, isCache := strings.CutPrefix(word, "cache=")
		switch {
		case v.name == "":
			v.name = word
			if i := strings.LastIndex(word, ":/"); i > 0 {
				v.name, v.mount = word[:i], path.Clean(word[i+1:])
			}
		case word == "ro":
			v.readOnly = true
		case word == "steal":
			v.steal = true
		case isSerial && serial != "" && len(serial) <= maxSerial:
			v.serial = serial
		case isCache:
			var err error
			if v.cache, err = parseSize(cache); err != nil {
				return v, fmt.Errorf("volume %q: cache: %w", s, err)
			}
		case isAt && at != "":
			v.at = append(v.at, at)
		default:
			return v, fmt.Errorf("volume %q: can't read %q; give ro, cache=SIZE, steal, serial=NAME (up to %d bytes) or at=ADDRESS of a storage monitor", s, word, maxSerial)
		}
	}
	if v.name == "" {
		return v, fmt.Errorf("volume %q has no name", s)
	}
	if v.serial == "" {
		v.serial = v.name[:min(len(v.name), maxSerial)]
	}
	return v, nil
}

// maxSerial is how long a disk's serial number may be.
const maxSerial = 20

// checkVolumes checks what belongs together.
func (o *options) checkVolumes() error {
	nowhere := func(v volumeOption) bool { return len(v.at)+len(o.storage) == 0 }
	switch {
	case !o.onRack && slices.ContainsFunc(o.volumes, nowhere):
		return errors.New("--volume needs the storage monitors that have it: give --storage-monitor HOST:PORT, or --global for a volume of a rack")
	case o.onRack && len(o.storage) == 0 && slices.ContainsFunc(o.volumes, func(v volumeOption) bool { return v.steal || len(v.at) > 0 }):
		return errors.New("a rack knows where its volumes are and who writes them: leave steal and at= out")
	case o.image.name == "" && len(o.command) == 0 && slices.ContainsFunc(o.volumes, func(v volumeOption) bool { return v.mount != "" }):
		return errors.New("--volume NAME:/DIR is mounted by the init that runs a command: give one after --, or an image")
	case len(o.storage) > blockclient.MaxReplicas:
		return fmt.Errorf("%d storage monitors: a volume has at most %d replicas", len(o.storage), blockclient.MaxReplicas)
	}
	for i, v := range o.volumes {
		if len(v.at) > blockclient.MaxReplicas {
			return fmt.Errorf("volume %s: %d storage monitors: it has at most %d replicas", v.name, len(v.at), blockclient.MaxReplicas)
		}
		if v.cache > 0 && v.readOnly {
			return fmt.Errorf("volume %s: a cache is for the one that writes a volume: leave cache= out with ro", v.name)
		}
		if v.mount != "" && slices.ContainsFunc(o.volumes[:i], func(w volumeOption) bool { return w.serial == v.serial }) {
			return fmt.Errorf("volume %s: another one has the serial number %s: give serial=NAME", v.name, v.serial)
		}
	}
	return nil
}

// openVolumes opens the volumes at their storage monitors. They come after the
// disks; without any, the first is the root.
func (n *vnode) openVolumes(ctx context.Context) error {
	n.written = map[string]*volume.Disk{}
	for _, o := range n.o.volumes {
		at := o.at
		if len(at) == 0 {
			at = n.o.storage
		}
		d, err := volume.Open(ctx, volume.Config{
			Config: blockclient.Config{Monitors: at, Name: o.name, ReadOnly: o.readOnly, Steal: o.steal, Log: n.log},
			Cache:  o.cache,
		})
		if err != nil {
			return err
		}
		n.onClose(d.Close)
		if !o.readOnly {
			n.written[o.name] = d
		}
		dev, err := block.New(block.Config{Backend: d, Serial: o.serial, Queues: n.o.vcpus})
		if err != nil {
			return fmt.Errorf("volume %s: %w", o.name, err)
		}
		n.devices = append(n.devices, dev)
	}
	return nil
}

// volumeMounts are the volumes as a vNode of a rack has them.
func (o *options) volumeMounts() []*api.VolumeMount {
	var list []*api.VolumeMount
	for _, v := range o.volumes {
		list = append(list, &api.VolumeMount{Name: v.name, Mount: v.mount, ReadOnly: v.readOnly, Serial: v.serial, CacheBytes: v.cache})
	}
	return list
}

// volumeArg is a volume of a rack as a --volume, the other way round. Where the
// writer before may be alive, it is cut off.
func volumeArg(m *api.VolumeMount, at *api.VolumePlace) string {
	words := []string{m.Name}
	if m.Mount != "" {
		words[0] += ":" + m.Mount
	}
	if m.ReadOnly || at.ReadOnly {
		words = append(words, "ro")
	} else {
		if at.Fence {
			words = append(words, "steal")
		}
		if m.CacheBytes > 0 {
			words = append(words, fmt.Sprintf("cache=%d", m.CacheBytes))
		}
	}
	if m.Serial != "" {
		words = append(words, "serial="+m.Serial)
	}
	for _, r := range at.Monitors {
		if len(r.Data) > 0 {
			words = append(words, "at="+r.Data[0])
		}
	}
	return strings.Join(words, ",")
}

// rootReadOnly tells whether the first disk was given as read-only.
func (n *vnode) rootReadOnly() bool {
	if len(n.o.disks) > 0 {
		return n.o.disks[0].readOnly
	}
	return n.o.volumes[0].readOnly
}
