package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	virtionet "splitvm/vmm/virtio/net"
)

var exported = []cmp.Option{cmp.AllowUnexported(diskOption{}, netOption{}), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

func TestParseDisk(t *testing.T) {
	for s, want := range map[string]diskOption{
		"a.img":                             {path: "a.img"},
		"/dev/sdb,ro,serial=data":           {path: "/dev/sdb", readOnly: true, serial: "data"},
		"a,cache=none":                      {path: "a", direct: true},
		"a,cache=none,cache=writeback,ro,,": {path: "a", readOnly: true},
	} {
		got, err := parseDisk(s)
		if d := cmp.Diff(want, got, exported...); d != "" || err != nil {
			t.Errorf("parseDisk(%q): %v\n%s", s, err, d)
		}
	}
	for _, s := range []string{"", ",ro", "a,rw", "a,cache=unsafe", "a,serial=", "a,serial=" + strings.Repeat("x", 21)} {
		if _, err := parseDisk(s); err == nil {
			t.Errorf("parseDisk(%q) was taken", s)
		}
	}
}

func TestParseNet(t *testing.T) {
	want := netOption{tap: "tap0", mac: virtionet.MAC{0x52, 0x54, 0, 0, 0, 1}, addr: netip.MustParsePrefix("10.0.0.2/24"), gateway: netip.MustParseAddr("10.0.0.1")}
	got, err := parseNet("tap0,mac=52:54:00:00:00:01,ip=10.0.0.2/24,gw=10.0.0.1")
	if d := cmp.Diff(want, got, exported...); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	for _, s := range []string{"", "a-name-that-is-too-long", "a/b", "..", "a b", "t,mac=1", "t,mac=01:00:00:00:00:00", "t,ip=10.0.0.1", "t,gw=10.0.0.1", "t,x=1"} {
		if _, err := parseNet(s); err == nil {
			t.Errorf("parseNet(%q) was taken", s)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]uint64{"512M": 512 << 20, "2G": 2 << 30, "1t": 1 << 40, "4096": 4096, "1GiB": 1 << 30} {
		if got, err := parseSize(s); got != want || err != nil {
			t.Errorf("parseSize(%q) = %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "G", "-1G", "two", "1X"} {
		if n, err := parseSize(s); err == nil {
			t.Errorf("parseSize(%q) = %d", s, n)
		}
	}
}
