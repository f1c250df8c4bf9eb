package global

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	"splitvm/remote"
	"splitvm/remote/api"
)

// Limits and defaults of a vNode's specification.
const (
	minMemory     = 4 << 20
	maxMemory     = 1 << 44
	maxVCPUs      = 1024
	maxVRegion    = remote.MaxVRegionLines * remote.LineSize
	defaultWeight = 100
	defaultFloor  = 8 << 20
)

var nameOK = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`).MatchString

// complete checks a specification and fills in what is not given.
func complete(in *api.VNodeSpec) (*api.VNodeSpec, error) {
	if in == nil {
		return nil, errors.New("a vNode needs a specification")
	}
	s := proto.CloneOf(in)
	if s.Vcpus == 0 {
		s.Vcpus = 1
	}
	if s.VregionBytes == 0 {
		s.VregionBytes = maxVRegion
	}
	if s.Network == "" {
		s.Network = "default"
	}
	if s.Excache == nil {
		s.Excache = &api.ExCacheShare{}
	}
	e := s.Excache
	if e.Weight == 0 {
		e.Weight = defaultWeight
	}
	if e.LimitBytes == 0 {
		e.LimitBytes = s.MemoryBytes
	}
	if e.FloorBytes == 0 {
		e.FloorBytes = min(defaultFloor, e.LimitBytes)
	}
	return s, check(s)
}

func check(s *api.VNodeSpec) error {
	v := s.VregionBytes
	switch {
	case s.Name != "" && !nameOK(s.Name), !nameOK(s.Network):
		return fmt.Errorf("name %q, network %q: use up to 63 letters, digits, '-', '_' and '.', beginning with a letter or digit", s.Name, s.Network)
	case s.Name != "" && strings.Trim(s.Name, "0123456789") == "":
		return fmt.Errorf("name %q: a number would be taken for a vID", s.Name)
	case s.MemoryBytes < minMemory || s.MemoryBytes > maxMemory || s.MemoryBytes%remote.LineSize != 0:
		return fmt.Errorf("memory of %d bytes: give whole pages, %d MiB to %d GiB", s.MemoryBytes, minMemory>>20, maxMemory>>30)
	case s.Vcpus > maxVCPUs:
		return fmt.Errorf("%d vCPUs: at most %d", s.Vcpus, maxVCPUs)
	case v < remote.LineSize || v > maxVRegion || v&(v-1) != 0:
		return fmt.Errorf("vRegions of %d bytes: give a power of two up to 1 GiB", v)
	case (s.Kernel == "" && s.Image == "") == (s.Bare == ""):
		return errors.New("a vNode runs either a kernel (or an image) or a bare program")
	case s.Bare != "" && len(s.Publish) > 0:
		return errors.New("a bare program has no network device: leave its published ports out")
	case s.Excache.FloorBytes > s.Excache.LimitBytes:
		return fmt.Errorf("ExCache: the floor of %d bytes is above the limit of %d", s.Excache.FloorBytes, s.Excache.LimitBytes)
	}
	return checkVolumes(s)
}

// maxVolumes of a vNode.
const maxVolumes = 32

func checkVolumes(s *api.VNodeSpec) error {
	if len(s.Volumes) > 0 && s.Bare != "" {
		return errors.New("a bare program has no disks: leave its volumes out")
	}
	if len(s.Volumes) > maxVolumes {
		return fmt.Errorf("%d volumes: at most %d", len(s.Volumes), maxVolumes)
	}
	seen := map[string]bool{}
	for _, m := range s.Volumes {
		switch {
		case !nameOK(m.Name) || len(m.Serial) > 20 || strings.ContainsAny(m.Serial+m.Mount, ",\x00") || m.Mount != "" && !path.IsAbs(m.Mount):
			return fmt.Errorf("volume %q on %q, serial %q: give a volume's name, an absolute directory, and a serial of up to 20 bytes, without commas", m.Name, m.Mount, m.Serial)
		case m.CacheBytes > 0 && m.ReadOnly:
			return fmt.Errorf("volume %s: a cache is for the one that writes a volume: leave it out of one that is only read", m.Name)
		case seen[m.Name]:
			return fmt.Errorf("volume %s is given twice", m.Name)
		case m.Mount != "" && s.Image == "" && len(s.Command) == 0:
			return fmt.Errorf("volume %s on %s is mounted by the init that runs a command: give one, or an image", m.Name, m.Mount)
		}
		seen[m.Name] = true
	}
	return nil
}

// vipNet is where vNodes' addresses are, and what each named network is; the
// first is its gateway.
var vipNet = netip.MustParsePrefix("10.88.0.0/16")

// freeVIP returns the lowest address that no vNode of the rack has. The caller
// holds mu.
func (l *leader) freeVIP() (string, error) {
	taken := map[string]bool{}
	for _, v := range l.vnodes {
		taken[v.Vip] = true
	}
	last := netip.MustParseAddr("10.88.255.254")
	for a := netip.MustParseAddr("10.88.0.2"); a.Compare(last) <= 0; a = a.Next() {
		if !taken[a.String()] {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("all addresses of %v are taken: `splitvm rm` gives back those of vNodes that have ended", vipNet)
}
