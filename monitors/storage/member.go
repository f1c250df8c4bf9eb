package storage

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// Rack says of which rack the monitor is to be a member, and as what.
type Rack struct {
	Global []string // the global monitors; none: no rack
	Name   string
	Domain string // failure domain
}

// join makes the monitor a member until ctx ends.
func join(ctx context.Context, cfg Config, addrs []net.Addr) error {
	if len(cfg.Rack.Global) == 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(cfg.Data, &fs); err != nil {
		return fmt.Errorf("size of the file system of %s: %w", cfg.Data, err)
	}
	self := &api.Member{Role: api.Role_ROLE_STORAGE, Name: cfg.Rack.Name, Domain: cfg.Rack.Domain,
		Capacity: &api.Resources{DiskBytes: fs.Blocks * uint64(fs.Bsize)}}
	for _, a := range addrs {
		at := a.String()
		if a.Network() == "unix" {
			at = "unix:" + at
		}
		self.Data = append(self.Data, at)
	}
	member := &rack.Member{Global: cfg.Rack.Global, Self: self, Log: cfg.Log, Report: func() (*api.Resources, []remote.VRegionID) {
		var now unix.Statfs_t
		if unix.Statfs(cfg.Data, &now) != nil {
			return nil, nil
		}
		return &api.Resources{DiskBytes: (now.Blocks - now.Bfree) * uint64(now.Bsize)}, nil
	}}
	return member.Keep(ctx)
}
