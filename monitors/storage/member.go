package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
func join(ctx context.Context, cfg Config, store *Store, addrs []net.Addr) error {
	if len(cfg.Rack.Global) == 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(cfg.Data, &fs); err != nil {
		return fmt.Errorf("size of the file system of %s: %w", cfg.Data, err)
	}
	id, err := savedID(cfg.Data)
	if err != nil {
		return err
	}
	self := &api.Member{Id: id, Role: api.Role_ROLE_STORAGE, Name: cfg.Rack.Name, Domain: cfg.Rack.Domain,
		Capacity: &api.Resources{DiskBytes: fs.Blocks * uint64(fs.Bsize)}}
	for _, a := range addrs {
		at := a.String()
		if a.Network() == "unix" {
			at = "unix:" + at
		}
		self.Data = append(self.Data, at)
	}
	member := &rack.Member{Global: cfg.Rack.Global, Self: self, Log: cfg.Log, Report: func() (*api.Resources, []remote.VRegionStat) {
		var now unix.Statfs_t
		volumes, err := store.countVolumes()
		if err != nil || unix.Statfs(cfg.Data, &now) != nil {
			return nil, nil
		}
		return &api.Resources{DiskBytes: (now.Blocks - now.Bfree) * uint64(now.Bsize), Volumes: volumes}, nil
	}}
	member.Joined = func(id remote.MonitorID) {
		if err := os.WriteFile(idPath(cfg.Data), []byte(strconv.FormatUint(uint64(id), 10)), 0o600); err != nil {
			cfg.Log.Error("save the member's id", "err", err)
		}
	}
	return member.Keep(ctx)
}

// idPath is where the member's id is kept: the rack knows by it where volumes are.
func idPath(data string) string { return filepath.Join(data, "member") }

// savedID is the id of the monitor that had the data before; 0: none.
func savedID(data string) (uint64, error) {
	raw, err := os.ReadFile(idPath(data))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", idPath(data), err)
	}
	return id, nil
}
