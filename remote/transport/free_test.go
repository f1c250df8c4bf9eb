package transport

import (
	"net"
	"net/netip"
	"testing"
)

// Each address is another one, free, and out of the way of the kernel's own choice.
func TestFreeAddresses(t *testing.T) {
	list, err := FreeAddresses(20)
	if err != nil || len(list) != 20 {
		t.Fatal(list, err)
	}
	for _, a := range list {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err) // also if it is there twice
		}
		defer l.Close()
	}
	given := lowestGiven()
	if given <= lowestFree {
		t.Skipf("this host's kernel gives ports from %d on to whoever asks: %s", given, rangeFile)
	}
	for _, a := range list {
		if int(netip.MustParseAddrPort(a).Port()) >= given {
			t.Errorf("%s is one that the kernel may give to others: those from %d on", a, given)
		}
	}
}

// Ports that are taken are passed over, and where none is left there are others.
func TestFreeBetween(t *testing.T) {
	list, err := FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	port := int(netip.MustParseAddrPort(list[0]).Port())
	if got, err := freeBetween(port, port+1, 2); err != nil || len(got) != 2 || got[0] != list[0] || got[1] == list[0] {
		t.Errorf("%v, %v, want %s and another", got, err, list[0])
	}
	if got, err := freeBetween(port, port, 1); err != nil || len(got) != 1 {
		t.Errorf("of an empty range: %v, %v", got, err)
	}
}
