package global

import (
	"fmt"
	"net/url"
	"strings"
)

// peerURL finds the URL of the peer called name in NAME=URL,...
func peerURL(peers, name string) (url.URL, error) {
	for p := range strings.SplitSeq(peers, ",") {
		n, at, ok := strings.Cut(p, "=")
		u, err := url.Parse(at)
		if !ok || err != nil || u.Scheme == "" || u.Host == "" {
			return url.URL{}, fmt.Errorf("peer %q: give NAME=http://HOST:PORT", p)
		}
		if n == name {
			return *u, nil
		}
	}
	return url.URL{}, fmt.Errorf("%q is not among the peers %s: give this monitor's --name", name, peers)
}
