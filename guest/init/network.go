//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
)

const (
	linkWait = 5 * time.Second // for a network interface to appear
	linkPoll = 5 * time.Millisecond
)

// setUpNetwork brings up the loopback and the interfaces of cfg, and sets the
// host name and the name servers.
func setUpNetwork(cfg cmdline.Config) error {
	if cfg.Hostname != "" {
		if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
			return fmt.Errorf("set the host name %q: %w", cfg.Hostname, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		logError(fmt.Errorf("bring up the loopback interface: %w", err))
	}
	if err := nameLocalhost(cfg.Hostname); err != nil {
		logError(err) // names of this machine don't resolve
	}
	var servers []netip.Addr
	for i, l := range cfg.Links {
		if err := setUpLink(l, i); err != nil {
			return fmt.Errorf("network interface %q: %w", l.Device, err)
		}
		servers = append(servers, l.DNS...)
	}
	if len(servers) == 0 {
		return nil
	}
	return writeResolvConf(servers)
}

// setUpLink sets up the interface that is the rank-th of the command line. Of
// several default routes the first interface's is preferred.
func setUpLink(l cmdline.Link, rank int) error {
	link, err := waitForLink(l.Device)
	if err != nil {
		return err
	}
	if l.MTU > 0 {
		if err := netlink.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("set its MTU to %d: %w", l.MTU, err)
		}
	}
	for _, a := range l.Addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // usable at once: the host gives every guest its own
		}
		if err := netlink.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("give it the address %v: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	for _, g := range l.Gateways {
		route := &netlink.Route{
			LinkIndex: link.Attrs().Index,
			Gw:        g.AsSlice(),
			Dst:       ipNet(netip.PrefixFrom(zeroOf(g), 0)),
			Flags:     int(netlink.FLAG_ONLINK), // gateways outside the network are usual with /32
			Priority:  100 * (rank + 1),
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route by the gateway %v: %w", g, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// zeroOf is the unspecified address of a's family.
func zeroOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// waitForLink waits for the interface with the name or MAC address, or for any
// that is no loopback if device is empty.
func waitForLink(device string) (netlink.Link, error) {
	deadline := time.Now().Add(linkWait)
	for {
		links, err := netlink.LinkList()
		if err != nil {
			return nil, fmt.Errorf("list interfaces: %w", err)
		}
		var names []string
		for _, l := range links {
			if linkIs(l.Attrs(), device) {
				return l, nil
			}
			names = append(names, l.Attrs().Name+" "+l.Attrs().HardwareAddr.String())
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("it did not appear within %v; interfaces here: %s", linkWait, strings.Join(names, ", "))
		}
		time.Sleep(linkPoll)
	}
}

func linkIs(a *netlink.LinkAttrs, device string) bool {
	if device == "" {
		return a.Flags&net.FlagLoopback == 0 && len(a.HardwareAddr) > 0
	}
	return a.Name == device || strings.EqualFold(a.HardwareAddr.String(), device)
}

const resolvConf = "/etc/resolv.conf"

// writeResolvConf tells the C library the name servers. An /etc/resolv.conf of
// the root's own is covered, not changed: the disk may outlive this guest.
func writeResolvConf(servers []netip.Addr) error {
	var text strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&text, "nameserver %v\n", s)
	}
	const ours = "/run/splitvm/resolv.conf"
	if err := writeRun(ours, text.String()); err != nil {
		return fmt.Errorf("tell the name servers: %w", err)
	}
	if _, err := os.Stat(resolvConf); errors.Is(err, os.ErrNotExist) {
		return linkResolvConf(ours)
	}
	return cover(resolvConf, ours)
}

// writeRun writes a file of ours below /run.
func writeRun(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// cover has a file of ours seen in place of the root's.
func cover(path, ours string) error {
	if err := unix.Mount(ours, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover %s: %w", path, err)
	}
	return nil
}

// nameLocalhost covers an empty /etc/hosts, which roots of container images have
// for whoever runs them to fill.
func nameLocalhost(hostname string) error {
	const hosts, ours = "/etc/hosts", "/run/splitvm/hosts"
	if st, err := os.Stat(hosts); err != nil || st.Size() > 0 || !st.Mode().IsRegular() {
		return nil // the root's own is as it should be, or it wants none
	}
	text := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if hostname != "" {
		text += "127.0.1.1\t" + hostname + "\n"
	}
	if err := writeRun(ours, text); err != nil {
		return fmt.Errorf("name localhost: %w", err)
	}
	return cover(hosts, ours)
}

// linkResolvConf makes a link to ours where the root has no resolv.conf, or one
// that links to nowhere (systemd-resolved's, which does not run here).
func linkResolvConf(ours string) error {
	err := os.MkdirAll(filepath.Dir(resolvConf), 0o755)
	if err == nil {
		err = os.Remove(resolvConf)
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = os.Symlink(ours, resolvConf)
	}
	if err != nil {
		logError(fmt.Errorf("the root has no usable %s and can't be given one: names won't resolve: %w", resolvConf, err))
	}
	return nil
}
