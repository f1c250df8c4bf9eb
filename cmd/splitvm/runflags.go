package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"splitvm/guest/init/cmdline"
	virtionet "splitvm/vmm/virtio/net"
)

// diskOption is one --disk.
type diskOption struct {
	path     string
	readOnly bool
	direct   bool // cache=none
	serial   string
	mount    string // where in the guest; empty: nowhere
}

// parseDisk reads FILE[,ro][,cache=writeback|none][,serial=NAME][,mount=DIR].
func parseDisk(s string) (diskOption, error) {
	path, rest, _ := strings.Cut(s, ",")
	d := diskOption{path: path}
	if path == "" {
		return d, fmt.Errorf("disk %q names no file", s)
	}
	for word := range fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case word == "ro":
			d.readOnly = true
		case word == "cache=none":
			d.direct = true
		case word == "cache=writeback":
			d.direct = false
		case key == "serial" && value != "" && len(value) <= 20:
			d.serial = value
		case key == "mount" && strings.HasPrefix(value, "/"):
			d.mount = value
		default:
			return d, fmt.Errorf("disk %q: can't read %q; give ro, cache=writeback, cache=none, serial=NAME (up to 20 bytes) or mount=/DIR", s, word)
		}
	}
	return d, nil
}

// netOption is one --net.
type netOption struct {
	tap      string // empty: a network in user space
	mac      virtionet.MAC
	addr     netip.Prefix // zero: none
	gateway  netip.Addr   // zero: none; of a network in user space, its name server as well
	loopback bool         // the gateway leads to the host's loopback
	network  string       // of the host's; empty: a network of the vNode's own
	socket   string       // by which to join it
	wanted   netip.Addr   // on it; zero: any
}

// tapOK is a part of what Linux takes (dev_valid_name).
var tapOK = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,14}$`).MatchString

// parseNet reads TAP[,mac=ADDR][,ip=ADDR/LEN][,gw=ADDR].
func parseNet(s string) (netOption, error) {
	tap, rest, _ := strings.Cut(s, ",")
	if tap == userNet {
		return parseUserNet(s, rest)
	}
	n := netOption{tap: tap}
	rand.Read(n.mac[:]) // a made-up one is unicast and locally administered
	n.mac[0] = n.mac[0]&^1 | 2
	if !tapOK(tap) {
		return n, fmt.Errorf("net %q: a tap's name has 1 to 15 letters, digits, '-', '_' and '.'", s)
	}
	for word := range fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "mac":
			n.mac, err = parseMAC(value)
		case "ip":
			n.addr, err = netip.ParsePrefix(value)
		case "gw":
			n.gateway, err = netip.ParseAddr(value)
		default:
			err = fmt.Errorf("can't read %q; give mac=, ip= or gw=", word)
		}
		if err != nil {
			return n, fmt.Errorf("net %q: %w", s, err)
		}
	}
	if n.gateway.IsValid() && !n.addr.IsValid() {
		return n, fmt.Errorf("net %q: a gateway needs an address; give ip= too", s)
	}
	return n, nil
}

func parseMAC(s string) (virtionet.MAC, error) {
	addr, err := net.ParseMAC(s)
	if err != nil {
		return virtionet.MAC{}, err
	}
	if len(addr) != 6 || addr[0]&1 != 0 {
		return virtionet.MAC{}, fmt.Errorf("%s is not a unicast Ethernet address", s)
	}
	return virtionet.MAC(addr), nil
}

// link is what the guest's init sets up.
func (n netOption) link() cmdline.Link {
	l := cmdline.Link{Device: net.HardwareAddr(n.mac[:]).String(), Addrs: []netip.Prefix{n.addr}}
	if n.gateway.IsValid() {
		l.Gateways = []netip.Addr{n.gateway}
	}
	if n.tap == "" {
		l.DNS = l.Gateways
	}
	return l
}

// fields yields the words between commas, without empty ones.
func fields(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for word := range strings.SplitSeq(s, ",") {
			if word != "" && !yield(word) {
				return
			}
		}
	}
}
