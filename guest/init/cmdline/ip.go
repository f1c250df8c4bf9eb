package cmdline

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// parseLink reads the value of a splitvm.ip= word.
func parseLink(value string) (Link, error) {
	fields := strings.Split(value, ",")
	l := Link{Device: fields[0]}
	for _, f := range fields[1:] {
		if err := l.take(f); err != nil {
			return Link{}, fmt.Errorf("%s=%s: %w", wordIP, value, err)
		}
	}
	if err := l.check(); err != nil {
		return Link{}, fmt.Errorf("%s=%s: %w", wordIP, value, err)
	}
	return l, nil
}

func (l *Link) take(field string) error {
	name, value, named := strings.Cut(field, "=")
	switch {
	case !named:
		p, err := netip.ParsePrefix(field)
		if err != nil {
			return fmt.Errorf("%q is not ADDRESS/LENGTH", field)
		}
		l.Addrs = append(l.Addrs, p)
		return nil
	case name == "gw":
		return appendAddr(&l.Gateways, value)
	case name == "dns":
		return appendAddr(&l.DNS, value)
	case name == "mtu":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return fmt.Errorf("mtu %q is not a number up to 65535", value)
		}
		l.MTU = int(n)
		return nil
	}
	return fmt.Errorf("unknown setting %q", field)
}

func appendAddr(list *[]netip.Addr, s string) error {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return fmt.Errorf("%q is not an IP address", s)
	}
	*list = append(*list, a)
	return nil
}

// takeLinuxIP applies the value of Linux's ip= word:
// client:server:gw:netmask:hostname:device:autoconf:dns0:dns1:ntp0. The server
// and the NTP server are not used.
func (c *Config) takeLinuxIP(value string) error {
	f := strings.Split(value, ":")
	if len(f) == 1 && (value == "off" || value == "none" || value == "") {
		return nil
	}
	for len(f) < 10 {
		f = append(f, "")
	}
	switch auto := f[6]; {
	case len(f) > 10:
		return fmt.Errorf("ip=%s: more than ten fields; IPv6 addresses go into %s=", value, wordIP)
	case !strings.ContainsRune(f[0], '.') || (auto != "" && auto != "off" && auto != "none" && auto != "static"):
		return fmt.Errorf("ip=%s: give an IPv4 address: there is no DHCP or other autoconfiguration here", value)
	}
	l, err := linuxLink(f)
	if err != nil {
		return fmt.Errorf("ip=%s: %w", value, err)
	}
	c.Links = append(c.Links, l)
	if f[4] != "" && c.Hostname == "" {
		c.Hostname = f[4]
	}
	return nil
}

// linuxLink makes a Link of the ten fields of ip=.
func linuxLink(f []string) (Link, error) {
	l := Link{Device: f[5]}
	addr, err := netip.ParseAddr(f[0])
	if err != nil || !addr.Is4() {
		return l, fmt.Errorf("client %q is not an IPv4 address", f[0])
	}
	bits, err := maskBits(addr, f[3])
	if err != nil {
		return l, err
	}
	l.Addrs = []netip.Prefix{netip.PrefixFrom(addr, bits)}
	if f[2] != "" {
		if err := appendAddr(&l.Gateways, f[2]); err != nil {
			return l, err
		}
	}
	for _, dns := range f[7:9] {
		if dns == "" {
			continue
		}
		if err := appendAddr(&l.DNS, dns); err != nil {
			return l, err
		}
	}
	return l, l.check()
}

// maskBits is the length of a netmask such as 255.255.255.0. Without one it is
// that of the address's class, as Linux has it (net/ipv4/ipconfig.c).
func maskBits(addr netip.Addr, mask string) (int, error) {
	if mask == "" {
		switch first := addr.As4()[0]; {
		case first < 128:
			return 8, nil
		case first < 192:
			return 16, nil
		default:
			return 24, nil
		}
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || !m.Is4() {
		return 0, fmt.Errorf("netmask %q is not one", mask)
	}
	raw := m.As4()
	ones, size := net.IPMask(raw[:]).Size()
	if size == 0 {
		return 0, fmt.Errorf("netmask %q is not one", mask)
	}
	return ones, nil
}
