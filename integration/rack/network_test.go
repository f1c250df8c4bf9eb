package rack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"splitvm/guest/bare"
)

// chat starts a vNode that talks to all on its network, and returns the byte that
// stands for it in what others print.
func (r *rack) chat(name, network string, flags ...string) byte {
	r.t.Helper()
	kernel := filepath.Join(r.t.TempDir(), "kernel")
	if err := os.WriteFile(kernel, bare.ELF(bare.Chat), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.must(append([]string{"create", "--name", name, "--network", network, "--kernel", kernel, "--mem", "32M", "--vregion", "8M", "--run-flag=--verbose"}, flags...)...)
	r.must("start", name)
	var last byte
	if _, err := fmt.Sscanf(r.vnode(name).VIP, "10.88.0.%d", &last); err != nil {
		r.t.Fatalf("%s has the address %q: %v", name, r.vnode(name).VIP, err)
	}
	return bare.ChatBase + last
}

// heard counts the answers that a chatting vNode got from another.
func (r *rack) heard(name string, from byte) int {
	r.t.Helper()
	out, err := r.try("logs", name)
	if err != nil {
		r.t.Fatalf("logs %s: %v\n%s", name, err, out)
	}
	return strings.Count(ofVMM.ReplaceAllString(out, ""), string(from))
}

// ofVMM is what a VMM says among what its guest does.
var ofVMM = regexp.MustCompile(`(?m)(time=|splitvm: ).*$`)

// talk waits until each of two vNodes gets answers from the other from now on.
func (r *rack) talk(a string, aByte byte, b string, bByte byte) {
	r.t.Helper()
	const enough = 3
	before := [2]int{r.heard(a, bByte), r.heard(b, aByte)}
	r.eventually(a+" and "+b+" talk", func() bool {
		return r.heard(a, bByte) >= before[0]+enough && r.heard(b, aByte) >= before[1]+enough
	})
}

// vNodes of a network on one processor monitor talk, those of another hear nothing
// of it.
func TestNetworkOfOneHost(t *testing.T) {
	r := up(t)
	a, b, c := r.chat("a", "front"), r.chat("b", "front"), r.chat("c", "back")
	d := r.chat("d", "back")
	r.talk("a", a, "b", b)
	r.talk("c", c, "d", d)
	for name, others := range map[string][]byte{"a": {c, d}, "b": {c, d}, "c": {a, b}, "d": {a, b}} {
		for _, other := range others {
			if n := r.heard(name, other); n > 0 {
				t.Errorf("%s has %d answers from another network", name, n)
			}
		}
	}
	r.must("stop", "a", "b", "c", "d")
	r.must("rm", "a", "b", "c", "d")
	r.empty()
}

// vNodes of a network on two processor monitors talk, and nobody hears another network.
func TestNetworkOfTwoHosts(t *testing.T) {
	r := up(t, "--processors", "2")
	a, b, c := r.chat("a", "front"), r.chat("b", "front"), r.chat("c", "back")
	d := r.chat("d", "back")
	on := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		on[name] = r.vnode(name).Processor
	}
	if on["a"] == on["b"] || on["c"] == on["d"] {
		t.Fatalf("two vNodes of a network are on one processor monitor: %v", on)
	}
	r.talk("a", a, "b", b)
	r.talk("c", c, "d", d)
	for name, others := range map[string][]byte{"a": {c, d}, "b": {c, d}, "c": {a, b}, "d": {a, b}} {
		for _, other := range others {
			if n := r.heard(name, other); n > 0 {
				t.Errorf("%s has %d answers from another network", name, n)
			}
		}
	}
	r.must("stop", "a", "b", "c", "d")
	r.must("rm", "a", "b", "c", "d")
	r.empty()
}
