package main

import (
	"net/netip"
	"testing"
)

func TestParseUserNet(t *testing.T) {
	n, err := parseNet("user")
	if err != nil || n.addr != defaultUserAddr || n.gateway != netip.MustParseAddr("10.0.2.1") || n.loopback || n.tap != "" {
		t.Errorf("user: %+v, %v", n, err)
	}
	if l := n.link(); len(l.DNS) != 1 || l.DNS[0] != n.gateway || l.Device != "02:53:0a:00:02:02" {
		t.Errorf("user: link %+v", l)
	}
	n, err = parseNet("user,ip=10.9.0.5/16,host-loopback")
	if err != nil || n.gateway != netip.MustParseAddr("10.9.0.1") || !n.loopback {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err = parseNet("user,network=front,socket=/s"); err != nil || n.network != "front" || n.socket != "/s" || n.addr.IsValid() {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err = parseNet("user,network=front,addr=10.88.0.9"); err != nil || n.wanted != netip.MustParseAddr("10.88.0.9") {
		t.Errorf("%+v, %v", n, err)
	}
	for _, bad := range []string{"user,addr=10.88.0.9", "user,network=a,addr=x", "user,network=", "user,network=a,ip=10.9.0.5/16", "user,ip=10.9.0.1/16", "user,ip=10.9.0.0/16", "user,ip=10.9.0.5/31", "user,ip=fd00::2/64", "user,ip=x", "user,mac=02:00:00:00:00:01"} {
		if n, err := parseNet(bad); err == nil {
			t.Errorf("%s: %+v", bad, n)
		}
	}
}

func TestParsePublish(t *testing.T) {
	for s, want := range map[string]publishOption{
		"8080:80":           {"tcp", netip.MustParseAddrPort("0.0.0.0:8080"), 80},
		"0:53/udp":          {"udp", netip.MustParseAddrPort("0.0.0.0:0"), 53},
		"127.0.0.1:8080:80": {"tcp", netip.MustParseAddrPort("127.0.0.1:8080"), 80},
		"[::1]:8080:80/tcp": {"tcp", netip.MustParseAddrPort("[::1]:8080"), 80},
	} {
		if got, err := parsePublish(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "80", "80:", "80:0", "80:70000", "x:80:80", "80:80/sctp"} {
		if got, err := parsePublish(bad); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}
