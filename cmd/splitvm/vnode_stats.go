package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/volume"
	virtionet "splitvm/vmm/virtio/net"
)

// vnodeStats is what a vNode tells of itself; `splitvm stats` shows it.
type vnodeStats struct {
	Name    string        `json:"name"`
	PID     int           `json:"pid"`
	VCPUs   int           `json:"vcpus"`
	Memory  uint64        `json:"memory_bytes"`
	Uptime  float64       `json:"uptime_seconds"`
	CPU     float64       `json:"cpu_seconds"`       // of the VMM's process: vCPUs and devices
	Disk    *traffic      `json:"disk,omitempty"`    // of all disks; not there without any
	Net     *traffic      `json:"network,omitempty"` // likewise
	Caches  []volumeCache `json:"volume_caches,omitempty"`
	ExCache *excacheStats `json:"excache,omitempty"` // not there where memory is local
	Pagers  int           `json:"pager_restarts"`
}

// excacheStats is the pager's counters, and what follows from them.
type excacheStats struct {
	*ept.Stats
	Read     uint64  `json:"bytes_read"`        // from memory monitors
	Written  uint64  `json:"bytes_written"`     // to them
	Accuracy float64 `json:"prefetch_accuracy"` // share of prefetches that the guest came for
}

// volumeCache is the cache of a volume.
type volumeCache struct {
	Volume string `json:"volume"`
	volume.CacheStats
}

// traffic is what went to the guest and came from it, since its start.
type traffic struct {
	In  uint64 `json:"bytes_in"`  // read from disks; received
	Out uint64 `json:"bytes_out"` // written; sent
}

func (n *vnode) stats(ctx context.Context, started time.Time) (*vnodeStats, error) {
	s := &vnodeStats{Name: n.o.name, PID: os.Getpid(), VCPUs: n.o.vcpus, Memory: n.o.memory, Uptime: time.Since(started).Seconds()}
	if err := n.count(s); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(n.written)) {
		if c, ok := n.written[name].CacheStats(); ok {
			s.Caches = append(s.Caches, volumeCache{name, c})
		}
	}
	if n.far == nil {
		return s, nil
	}
	e, err := n.far.keeper.Stats(ctx)
	if err != nil {
		return nil, err
	}
	s.ExCache = &excacheStats{e, e.BytesRead(), e.BytesWritten(), e.PrefetchAccuracy()}
	s.Pagers = n.far.keeper.Restarts()
	return s, nil
}

// count adds up what the process and its devices have done.
func (n *vnode) count(s *vnodeStats) error {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("CPU time: getrusage: %w", err)
	}
	s.CPU = float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
	for _, d := range n.devices {
		switch d := d.(type) {
		case *block.Device:
			c := d.Stats()
			s.Disk = s.Disk.plus(c.Read, c.Written)
		case *virtionet.Device:
			c := d.Stats()
			s.Net = s.Net.plus(c.RxBytes, c.TxBytes)
		}
	}
	return nil
}

// plus adds to a sum that may not be begun.
func (t *traffic) plus(in, out uint64) *traffic {
	if t == nil {
		t = &traffic{}
	}
	return &traffic{t.In + in, t.Out + out}
}
