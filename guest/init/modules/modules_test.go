package modules

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const dep = `# made by hand
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko

kernel/drivers/char/virtio-rng.ko.xz: kernel/drivers/virtio/virtio.ko
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
kernel/c.ko: kernel/missing.ko
`

const aliases = `alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias virtio:d00000004v* virtio-rng
alias virtio:d0000000[1-9]v* a
alias fs-squashfs squashfs
`

func parse(t *testing.T) *Index {
	t.Helper()
	x, err := Parse(dep, aliases)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestMatch(t *testing.T) {
	x := parse(t)
	for modalias, want := range map[string][]string{
		"pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00": {"virtio_pci"},
		"virtio:d00000004v00001AF4":                             {"virtio_rng", "a"},
		"virtio:d00000009v00001AF4":                             {"a"},
		"fs-squashfs":                                           {"squashfs"},
		"virtio-pci":                                            {"virtio_pci"},
		"pci:v00008086d00001237sv00001AF4sd00001100bc06sc00i00": nil,
		"": nil,
	} {
		if d := cmp.Diff(want, x.Match(modalias)); d != "" {
			t.Errorf("Match(%q) (-want +got):\n%s", modalias, d)
		}
	}
}

func TestBuses(t *testing.T) {
	if d := cmp.Diff([]string{"pci", "virtio"}, parse(t).Buses()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLoadOrder(t *testing.T) {
	x := parse(t)
	got, err := x.LoadOrder("virtio_rng")
	want := []Module{
		{"virtio_ring", "kernel/drivers/virtio/virtio_ring.ko"},
		{"virtio", "kernel/drivers/virtio/virtio.ko"},
		{"virtio_rng", "kernel/drivers/char/virtio-rng.ko.xz"},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for name, reason := range map[string]string{
		"a": "a needs itself", "c": "missing is not in modules.dep", "squashfs": "squashfs is not in modules.dep",
	} {
		if _, err := x.LoadOrder(name); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("LoadOrder(%s): %v; want %q", name, err, reason)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	if _, err := Parse("kernel/a.ko kernel/b.ko", ""); err == nil {
		t.Error("modules.dep without a colon was taken")
	}
	if _, err := Parse("", "alias a"); err == nil {
		t.Error("modules.alias of two words was taken")
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"a*c", "abbc", true}, {"a*c", "abcd", false},
		{"*a*b", "xaxbxb", true}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"[ab]c", "bc", true}, {"[!ab]c", "bc", false},
		{"[0-9A-F]*", "Fx", true}, {"[0-9", "[0-9", true}, {"a**", "a", true}, {"a*b", "a", false}, {"[]x", "x", false},
	} {
		if got := Glob(c.pattern, c.s); got != c.want {
			t.Errorf("Glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

// FuzzGlob compares with path.Match, where both have the same syntax.
func FuzzGlob(f *testing.F) {
	f.Add("pci:v*d[0-9]?", "pci:v1d2x")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := Glob(pattern, s)
		if strings.ContainsAny(pattern, "!^\\[]/") || strings.ContainsAny(s, "/") || !ascii(pattern+s) {
			return
		}
		if want, err := path.Match(pattern, s); err != nil || got != want {
			t.Errorf("Glob(%q, %q) = %v; path.Match says %v, %v", pattern, s, got, want, err)
		}
	})
}

func ascii(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0 }

func FuzzParse(f *testing.F) {
	f.Add(dep, aliases, "virtio:d00000004v1")
	f.Fuzz(func(t *testing.T, dep, aliases, modalias string) {
		x, err := Parse(dep, aliases)
		if err != nil {
			return
		}
		for _, name := range x.Match(modalias) {
			order, err := x.LoadOrder(name)
			if err == nil && order[len(order)-1].Name != name {
				t.Fatalf("%s is not the last of %v", name, order)
			}
		}
	})
}
