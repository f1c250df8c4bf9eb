package names

import (
	"net"
	"net/netip"
	"os"
	"strings"
)

// resolvConf is where Linux programs find their name servers (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// Upstream is the host's name servers, as HOST:PORT. It is read each time: a
// laptop's change.
func Upstream() []string {
	data, err := os.ReadFile(resolvConf)
	if err != nil {
		return nil // a host without name servers
	}
	return servers(string(data))
}

func servers(conf string) []string {
	var list []string
	for line := range strings.Lines(conf) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			list = append(list, net.JoinHostPort(a.String(), "53"))
		}
	}
	return list
}
