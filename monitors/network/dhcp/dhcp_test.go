package dhcp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"splitvm/remote/network"
)

var here = Network{Subnet: netip.MustParsePrefix("10.88.0.0/16"), Gateway: netip.MustParseAddr("10.88.0.1"), MTU: 1500}

func client(addr string) net.HardwareAddr {
	m := network.MACOf(netip.MustParseAddr(addr))
	return m[:]
}

func ask(t testing.TB, mac net.HardwareAddr, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) []byte {
	t.Helper()
	p, err := dhcpv4.New(append(more, dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind))...)
	if err != nil {
		t.Fatal(err)
	}
	return p.ToBytes()
}

func TestAnswers(t *testing.T) {
	ip := func(s string) net.IP { return net.ParseIP(s).To4() }
	wanted := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip(s))) }
	server := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(s))) }
	own := client("10.88.3.9")
	for name, c := range map[string]struct {
		ask  []byte
		want dhcpv4.MessageType // none: no answer
		addr string
	}{
		"discover":            {ask(t, own, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer, "10.88.3.9"},
		"discover another":    {ask(t, own, dhcpv4.MessageTypeDiscover, wanted("10.88.3.10")), dhcpv4.MessageTypeOffer, "10.88.3.9"},
		"request":             {ask(t, own, dhcpv4.MessageTypeRequest, wanted("10.88.3.9"), server("10.88.0.1")), dhcpv4.MessageTypeAck, "10.88.3.9"},
		"renew":               {ask(t, own, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(ip("10.88.3.9"))), dhcpv4.MessageTypeAck, "10.88.3.9"},
		"request another":     {ask(t, own, dhcpv4.MessageTypeRequest, wanted("10.88.3.10")), dhcpv4.MessageTypeNak, "0.0.0.0"},
		"request nothing":     {ask(t, own, dhcpv4.MessageTypeRequest), dhcpv4.MessageTypeNak, "0.0.0.0"},
		"of another server":   {ask(t, own, dhcpv4.MessageTypeRequest, wanted("10.88.3.9"), server("10.88.0.2")), dhcpv4.MessageTypeNone, ""},
		"inform":              {ask(t, own, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(ip("10.88.3.9"))), dhcpv4.MessageTypeAck, "0.0.0.0"},
		"release":             {ask(t, own, dhcpv4.MessageTypeRelease), dhcpv4.MessageTypeNone, ""},
		"made-up MAC":         {ask(t, net.HardwareAddr{2, 0, 10, 88, 3, 9}, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeNone, ""},
		"the gateway's":       {ask(t, client("10.88.0.1"), dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeNone, ""},
		"of another network":  {ask(t, client("10.89.0.2"), dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeNone, ""},
		"an answer":           {ask(t, own, dhcpv4.MessageTypeOffer, func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }), dhcpv4.MessageTypeNone, ""},
		"something else":      {[]byte("hello"), dhcpv4.MessageTypeNone, ""},
		"an answer by a fool": {ask(t, own, dhcpv4.MessageTypeAck), dhcpv4.MessageTypeNone, ""},
	} {
		b, to := here.Answer(c.ask)
		if c.want == dhcpv4.MessageTypeNone {
			if b != nil {
				t.Errorf("%s: answered", name)
			}
			continue
		}
		p, err := dhcpv4.FromBytes(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.MessageType() != c.want || p.YourIPAddr.String() != c.addr || to != network.MAC(own) || !p.ServerIdentifier().Equal(ip("10.88.0.1")) {
			t.Errorf("%s: to %x: %v", name, to, p.Summary())
		}
		if c.want == dhcpv4.MessageTypeNak {
			continue
		}
		mtu := p.Options.Get(dhcpv4.OptionInterfaceMTU)
		if len(p.Router()) != 1 || !p.Router()[0].Equal(ip("10.88.0.1")) || len(p.DNS()) != 1 || p.SubnetMask().String() != "ffff0000" || len(mtu) != 2 || mtu[0] != 5 || mtu[1] != 220 {
			t.Errorf("%s: %v", name, p.Summary())
		}
	}
}

// FuzzAnswer: whatever a guest sends, an answer is one, and for the address of its
// MAC address.
func FuzzAnswer(f *testing.F) {
	f.Add(ask(f, client("10.88.3.9"), dhcpv4.MessageTypeDiscover))
	f.Add(ask(f, client("10.88.3.9"), dhcpv4.MessageTypeRequest, dhcpv4.WithRelay(net.IP{1, 2, 3, 4})))
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, to := here.Answer(b)
		if answer == nil {
			return
		}
		p, err := dhcpv4.FromBytes(answer)
		if err != nil || p.OpCode != dhcpv4.OpcodeBootReply {
			t.Fatalf("%x is answered by %x: %v", b, answer, err)
		}
		if a, ok := netip.AddrFromSlice(p.YourIPAddr.To4()); !ok || !a.IsUnspecified() && network.MACOf(a) != to {
			t.Errorf("%x gets %v", to, p.YourIPAddr)
		}
	})
}
