package cmdline

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func prefixes(s ...string) (list []netip.Prefix) {
	for _, p := range s {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func addrs(s ...string) (list []netip.Addr) {
	for _, a := range s {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

var configs = map[string]Config{
	"": {},
	"root=/dev/vda1 rootfstype=ext4 rootflags=noatime,errors=panic ro rootwait=7": {Root: Root{
		Device: Device{ByPath, "/dev/vda1"}, FSType: "ext4", Flags: "noatime,errors=panic", ReadOnly: true, Wait: 7 * time.Second}},
	`root="LABEL=my root" splitvm.overlay=tmpfs:64m splitvm.hostname=a`: {Hostname: "a",
		Root: Root{Device: Device{ByLabel, "my root"}, Overlay: true, OverlaySize: "64m"}},
	"root=/dev/vda splitvm.overlay=SERIAL=upper": {Root: Root{Device: Device{ByPath, "/dev/vda"}, Overlay: true, OverlayDevice: Device{BySerial, "upper"}}},
	"root=SERIAL=disk-0 splitvm.overlay=tmpfs":   {Root: Root{Device: Device{BySerial, "disk-0"}, Overlay: true}},
	"root=/dev/vda splitvm.mount=SERIAL=data,/srv/data splitvm.mount=/dev/vdc,/mnt,type=xfs,ro": {
		Root:   Root{Device: Device{ByPath, "/dev/vda"}},
		Mounts: []Mount{{Device: Device{BySerial, "data"}, Path: "/srv/data"}, {Device: Device{ByPath, "/dev/vdc"}, Path: "/mnt", FSType: "xfs", ReadOnly: true}}},
	"root=UUID=0f0f-aa init=/bin/sh -- -c exit": {Root: Root{Device: Device{ByUUID, "0f0f-aa"}},
		Init: "/bin/sh", InitArgs: []string{"-c", "exit"}},
	"splitvm.ip=eth0,10.0.0.2/24,fd00::2/64,gw=10.0.0.1,gw=fd00::1,dns=1.1.1.1,mtu=1400 splitvm.ip=52:54:00:00:00:01,10.1.0.2/16 splitvm.debug": {
		Debug: true,
		Links: []Link{
			{Device: "eth0", Addrs: prefixes("10.0.0.2/24", "fd00::2/64"), Gateways: addrs("10.0.0.1", "fd00::1"), DNS: addrs("1.1.1.1"), MTU: 1400},
			{Device: "52:54:00:00:00:01", Addrs: prefixes("10.1.0.2/16")},
		}},
	"splitvm.cmd=eyJhcmd2IjpbInNoIiwiLWMiLCJlY2hvIFwiJEFcIiJdLCJlbnYiOlsiQT0xIDIiXSwiY3dkIjoiL3RtcCIsInVzZXIiOiJub2JvZHk6bm9ncm91cCIsInR0eSI6dHJ1ZSwic3RkaW8iOiJwb3J0cyJ9": {
		Command: &Command{Argv: []string{"sh", "-c", `echo "$A"`}, Env: []string{"A=1 2"}, Cwd: "/tmp", User: "nobody:nogroup", TTY: true, Stdio: StdioPorts}},
}

func TestConfigsBothWays(t *testing.T) {
	for line, c := range configs {
		words, err := c.Words()
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		joined, err := Join(words)
		if err != nil || joined != line {
			t.Errorf("%+v gives %q, %v; want %q", c, joined, err, line)
		}
		got, err := Parse("quiet console=ttyS0 " + line)
		if d := cmp.Diff(c, got, compareAddrs); d != "" || err != nil {
			t.Errorf("Parse(%q): %v (-want +got):\n%s", line, err, d)
		}
	}
}

func TestParseLinuxIP(t *testing.T) {
	for line, want := range map[string]Config{
		"ip=off": {},
		"ip=10.0.0.2::10.0.0.1:255.255.255.0:vm:eth1:off:8.8.8.8:9.9.9.9": {Hostname: "vm", Links: []Link{{
			Device: "eth1", Addrs: prefixes("10.0.0.2/24"), Gateways: addrs("10.0.0.1"), DNS: addrs("8.8.8.8", "9.9.9.9")}}},
		"ip=10.0.0.2":   {Links: []Link{{Addrs: prefixes("10.0.0.2/8")}}},
		"ip=172.16.0.2": {Links: []Link{{Addrs: prefixes("172.16.0.2/16")}}},
		"ip=192.168.7.2:::::eth0:none ip=10.0.0.3:::255.255.255.252": {Links: []Link{
			{Device: "eth0", Addrs: prefixes("192.168.7.2/24")}, {Addrs: prefixes("10.0.0.3/30")}}},
	} {
		got, err := Parse(line)
		if d := cmp.Diff(want, got, compareAddrs); d != "" || err != nil {
			t.Errorf("Parse(%q): %v (-want +got):\n%s", line, err, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for word, reason := range map[string]string{
		"root=vda":                      "give a path below /dev",
		"root=PARTUUID=1-1":             "give a path below /dev",
		"rootwait=-1":                   "not a number of seconds",
		"splitvm.overlay=ext4":          "give tmpfs",
		"splitvm.overlay=tmpfs:1m,mode": "give tmpfs",
		"ip=10.0.0.300":                 "not an IPv4 address",
		"ip=dhcp":                       "no DHCP",
		"ip=:::::eth0:dhcp":             "no DHCP",
		"ip=fd00::1":                    "no DHCP",
		"ip=fd00:1:2:3:4:5:6:7:8:9:a":   "more than ten",
		"ip=10.0.0.1:::255.0.255.0":     "netmask",
		"ip=10.0.0.1::x":                "not an IP address",
		"splitvm.ip=eth0":               "no address",
		"splitvm.ip=eth0,10.0.0.1":      "not ADDRESS/LENGTH",
		"splitvm.ip=eth0,10.0.0.1/8,x=": "unknown setting",
		"splitvm.ip=a,10.0.0.1/8,mtu=x": "mtu",
		"splitvm.mount=/dev/vdb":        "give DEVICE,PATH",
		"splitvm.mount=vdb,/mnt":        "below /dev",
		"splitvm.mount=/dev/vdb,/":      "no directory to mount on",
		"splitvm.mount=/dev/vdb,/a/..":  "no directory to mount on",
		"splitvm.mount=/dev/vdb,/a,rw":  "unknown setting",
		"splitvm.cmd=!":                 "illegal base64",
		"splitvm.cmd=e30":               "no program",
	} {
		if _, err := Parse("quiet " + word); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("Parse(%q): %v; want %q", word, err, reason)
		}
	}
}

func TestWordsRefuse(t *testing.T) {
	for reason, c := range map[string]Config{
		"no program":          {Command: &Command{}},
		"not NAME=value":      {Command: &Command{Argv: []string{"a"}, Env: []string{"=x"}}},
		"not absolute":        {Command: &Command{Argv: []string{"a"}, Cwd: "tmp"}},
		"stdio":               {Command: &Command{Argv: []string{"a"}, Stdio: "tty"}},
		"NUL":                 {Command: &Command{Argv: []string{"a\x00"}}},
		"UTF-8":               {Command: &Command{Argv: []string{"a\xff"}}},
		"that root= can tell": {Root: Root{Device: Device{ByPath, "LABEL=x"}}},
		"can't be told":       {Mounts: []Mount{{Path: "/mnt"}}},
		"no address":          {Links: []Link{{Device: "eth0"}}},
		"bad name":            {Links: []Link{{Device: "a,b", Addrs: prefixes("10.0.0.1/8")}}},
		"quotes and control":  {Hostname: "a\"b"},
		"more than the 2047":  {Command: &Command{Argv: []string{"echo", strings.Repeat("x", 1600)}}},
	} {
		words, err := c.Words()
		if err == nil {
			_, err = Join(words)
		}
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%+v: %v; want %q", c, err, reason)
		}
	}
}

func TestSplitQuotesAsTheKernel(t *testing.T) {
	got := split("  a=\"b c\" \"d e=f\" g\th=i\"j k\"l \"m\n")
	if d := cmp.Diff([]string{"a=b c", "d e=f", "g", `h=i"j k"l`, "m\n"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// FuzzParse: what is understood of any line survives being told again.
func FuzzParse(f *testing.F) {
	for line := range configs {
		f.Add(line)
	}
	f.Add("ip=10.0.0.2::10.0.0.1:255.255.255.0:vm:eth1:off:8.8.8.8 -- x")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := Parse(line)
		if err != nil {
			return
		}
		if c.Command != nil {
			c.Init, c.InitArgs = "", nil // not told together
		}
		if c.Root.Device.Kind == NoDevice {
			c.Root = Root{} // nothing to say of no root
		}
		words, err := c.Words()
		if err != nil {
			t.Fatalf("%q gave %+v: %v", line, c, err)
		}
		joined, err := Join(words)
		if err != nil {
			return // control characters inside quotes, or too long
		}
		again, err := Parse(joined)
		if d := cmp.Diff(c, again, compareAddrs, cmpopts.EquateEmpty()); d != "" || err != nil {
			t.Fatalf("%q came back from %q: %v (-first +again):\n%s", line, joined, err, d)
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte(`{"argv":["sh"],"env":["A=b"],"cwd":"/","user":"0:0","tty":true,"stdio":"/dev/hvc0"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCommand(data)
		if err != nil {
			return
		}
		again, err := c.JSON()
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		d, err := ParseCommand(again)
		if diff := cmp.Diff(c, d, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Fatalf("%v (-first +again):\n%s", err, diff)
		}
	})
}
