package names

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func query(t testing.TB, name string, typ dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 0x1234, RecursionDesired: true}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}}}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAnswer(t *testing.T) {
	table := &Table{}
	table.Set("Web1", netip.MustParseAddr("10.0.2.7"))
	table.Set("gone", netip.MustParseAddr("10.0.2.8"))
	table.Remove("gone", netip.MustParseAddr("10.0.2.8"))
	for _, c := range []struct {
		name    string
		typ     dnsmessage.Type
		known   bool
		code    dnsmessage.RCode
		answers int
	}{
		{"web1.", dnsmessage.TypeA, true, dnsmessage.RCodeSuccess, 1},
		{"WEB1.internal.", dnsmessage.TypeA, true, dnsmessage.RCodeSuccess, 1},
		{"web1.", dnsmessage.TypeAAAA, true, dnsmessage.RCodeSuccess, 0},
		{"gone.internal.", dnsmessage.TypeA, true, dnsmessage.RCodeNameError, 0},
		{"nobody.", dnsmessage.TypeA, true, dnsmessage.RCodeNameError, 0},
		{"7.2.0.10.in-addr.arpa.", dnsmessage.TypePTR, true, dnsmessage.RCodeSuccess, 1},
		{"8.2.0.10.in-addr.arpa.", dnsmessage.TypePTR, false, 0, 0},
		{"example.org.", dnsmessage.TypeA, false, 0, 0},
		{".", dnsmessage.TypeNS, false, 0, 0},
	} {
		reply, known := table.Answer(query(t, c.name, c.typ))
		if known != c.known {
			t.Errorf("%s %v: known %v", c.name, c.typ, known)
			continue
		}
		if !known {
			continue
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil {
			t.Fatal(err)
		}
		if m.ID != 0x1234 || !m.Response || m.RCode != c.code || len(m.Answers) != c.answers || len(m.Questions) != 1 {
			t.Errorf("%s %v: %v", c.name, c.typ, m.GoString())
		}
	}
}

func TestServers(t *testing.T) {
	got := servers("# nameserver 1.1.1.1\nsearch x\nnameserver 192.0.2.1\nnameserver\nnameserver bad\nnameserver 2001:db8::1\n")
	if want := []string{"192.0.2.1:53", "[2001:db8::1]:53"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// FuzzAnswer has guests ask anything.
func FuzzAnswer(f *testing.F) {
	f.Add(query(f, "web1.", dnsmessage.TypeA))
	f.Add(query(f, "7.2.0.10.in-addr.arpa.", dnsmessage.TypePTR))
	f.Add([]byte{})
	table := &Table{}
	table.Set("web1", netip.MustParseAddr("10.0.2.7"))
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, reply := range [][]byte{Failure(p), first(table.Answer(p))} {
			var m dnsmessage.Message
			if reply == nil {
				continue
			}
			if err := m.Unpack(reply); err != nil || !m.Response || m.ID != uint16(p[0])<<8|uint16(p[1]) {
				t.Errorf("reply %x to %x: %v", reply, p, err)
			}
		}
	})
}

func first(p []byte, _ bool) []byte { return p }
