package attach

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// FuzzParse has a vNode's process ask for anything.
func FuzzParse(f *testing.F) {
	line, err := json.Marshal(Request{Version: Version, Network: "front", Name: "a", Addr: netip.MustParseAddr("10.88.0.2"),
		Publish: []Publish{{"tcp", netip.MustParseAddrPort("127.0.0.1:80"), 80}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Fuzz(func(t *testing.T, p []byte) {
		var req Request
		if err := parse(p, &req); err == nil && req.Version != Version {
			t.Errorf("version %d is taken", req.Version)
		}
	})
}
