package rack

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	var out string
	r.eventually("logs "+name, func() (ok bool) { // its processor monitor may be coming back
		var err error
		out, err = r.try("logs", name)
		return err == nil
	})
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

// deaf checks that none of the vNodes got an answer of some others.
func (r *rack) deaf(others map[string][]byte) {
	r.t.Helper()
	for name, list := range others {
		for _, other := range list {
			if n := r.heard(name, other); n > 0 {
				r.t.Errorf("%s has %d answers from another network", name, n)
			}
		}
	}
}

// end stops and removes vNodes, of which nothing is to be left.
func (r *rack) end(names ...string) {
	r.t.Helper()
	r.must(append([]string{"stop"}, names...)...)
	r.must(append([]string{"rm"}, names...)...)
	r.empty()
}

// vNodes of a network on one processor monitor talk, those of another hear nothing
// of it.
func TestNetworkOfOneHost(t *testing.T) {
	r := up(t)
	a, b, c := r.chat("a", "front"), r.chat("b", "front"), r.chat("c", "back")
	d := r.chat("d", "back")
	r.talk("a", a, "b", b)
	r.talk("c", c, "d", d)
	r.deaf(map[string][]byte{"a": {c, d}, "b": {c, d}, "c": {a, b}, "d": {a, b}})
	r.end("a", "b", "c", "d")
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
	r.deaf(map[string][]byte{"a": {c, d}, "b": {c, d}, "c": {a, b}, "d": {a, b}})
	r.end("a", "b", "c", "d")
}

// A published port of the processor's host leads to a vNode, also after the process of
// the networks was lost.
func TestPublish(t *testing.T) {
	r := up(t)
	r.chat("a", "front", "--publish", "127.0.0.1:0:7/udp")
	var port string
	r.eventually("the VMM says at which port", func() bool {
		out, _ := r.try("logs", "a")
		found := regexp.MustCompile(`published .*host=(127\.0\.0\.1:\d+)`).FindStringSubmatch(out)
		if found != nil {
			port = found[1]
		}
		return found != nil
	})
	for range 2 {
		c, err := net.Dial("udp", port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r.eventually("the vNode sends back what comes to the port", func() bool {
			c.Write([]byte("hello")) // may be refused while nobody listens
			c.SetReadDeadline(time.Now().Add(time.Second))
			got := make([]byte, 10)
			n, err := c.Read(got)
			return err == nil && string(got[:n]) == "hello"
		})
		r.killNetwork("p1")
	}
	r.end("a")
}

// killNetwork kills the process of the networks of a processor monitor's vNodes.
func (r *rack) killNetwork(dir string) {
	r.t.Helper()
	before := r.networkPID(dir)
	r.signal(before, unix.SIGKILL)
	r.eventually("the networks are there again", func() bool { pid := r.networkPID(dir); return pid != 0 && pid != before })
}

// networkPID is that process; 0 if there is none.
func (r *rack) networkPID(dir string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		env, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(env), "SPLITVM_NETWORK="+filepath.Join(r.dir, "rack", dir)+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			return pid
		}
	}
	return 0
}

// pair starts a vNode on each of two processor monitors, on one network.
func (r *rack) pair() (a, b byte) {
	r.t.Helper()
	a, b = r.chat("a", "front"), r.chat("b", "front")
	if r.vnode("a").Processor == r.vnode("b").Processor {
		r.t.Fatal("both vNodes are on one processor monitor")
	}
	r.talk("a", a, "b", b)
	return a, b
}

// vNodes on two hosts talk on while the global monitor and their processor monitors are
// away, and again after the processes of their networks were killed.
func TestNetworkFaults(t *testing.T) {
	r := up(t, "--processors", "2")
	a, b := r.pair()
	networks := [2]int{r.networkPID("p1"), r.networkPID("p2")}
	ask := r.offline("a", "b")
	for _, name := range []string{"global-1", "processor-1", "processor-2"} {
		r.kill(name)
	}
	ask(a, b)
	r.must("rack", "up")
	r.talk("a", a, "b", b)
	if now := [2]int{r.networkPID("p1"), r.networkPID("p2")}; now != networks {
		t.Errorf("the networks are processes %v, were %v", now, networks)
	}
	r.killNetwork("p1")
	r.talk("a", a, "b", b)
	r.killNetwork("p1")
	r.killNetwork("p2")
	r.talk("a", a, "b", b)
	c := r.chat("c", "front")
	r.talk("a", a, "c", c)
	r.talk("b", b, "c", c)
	r.end("a", "b", "c")
	for _, dir := range []string{"p1", "p2"} {
		if r.networkPID(dir) == 0 {
			t.Errorf("%s has no networks", dir)
		}
	}
}

// offline returns a talk of two vNodes that needs no monitor: it reads the files that
// they print to.
func (r *rack) offline(names ...string) func(a, b byte) {
	r.t.Helper()
	var files []string
	for _, name := range names {
		found, err := filepath.Glob(filepath.Join(r.dir, "rack", "p*", "vnodes", r.vnode(name).ID, "err"))
		if err != nil || len(found) != 1 {
			r.t.Fatalf("%s prints to %v, %v", name, found, err)
		}
		files = append(files, found[0])
	}
	count := func(file string, from byte) int {
		raw, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		return strings.Count(ofVMM.ReplaceAllString(string(raw), ""), string(from))
	}
	return func(a, b byte) {
		r.t.Helper()
		before := [2]int{count(files[0], b), count(files[1], a)}
		r.eventually("they talk on without monitors", func() bool {
			return count(files[0], b) >= before[0]+3 && count(files[1], a) >= before[1]+3
		})
	}
}
