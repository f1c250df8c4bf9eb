package cpuid

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/*.golden again")

var hosts = []string{"amd-epyc-nested", "amd-ring0-emulated", "intel-synthetic"}

// recorded reads a host's table of supported leaves.
func recorded(t *testing.T, host string) []Entry {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", host+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		var e Entry
		if _, err := fmt.Sscanf(s.Text(), "%x %x %x %x %x %x %x", &e.Function, &e.Index, &e.Flags, &e.Eax, &e.Ebx, &e.Ecx, &e.Edx); err != nil {
			t.Fatalf("%s: %q: %v", host, s.Text(), err)
		}
		entries = append(entries, e)
	}
	return entries
}

// render writes a table as in testdata, without its empty leaves.
func render(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		if e.Eax|e.Ebx|e.Ecx|e.Edx != 0 {
			fmt.Fprintf(&b, "%08x %02x %x  %08x %08x %08x %08x\n", e.Function, e.Index, e.Flags, e.Eax, e.Ebx, e.Ecx, e.Edx)
		}
	}
	return b.String()
}

func build(t *testing.T, host string, tmpl Template, index, count int) []Entry {
	t.Helper()
	entries, err := Build(Config{
		Template: tmpl, Supported: recorded(t, host), Index: index, Count: count, Brand: "Some Processor", IRQChip: true, TSCDeadline: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// What guests get on recorded hosts is what was looked through once.
func TestGolden(t *testing.T) {
	for _, host := range hosts {
		for _, tmpl := range []Template{Host, Baseline, Emulated} {
			if tmpl == Baseline && host == "amd-ring0-emulated" {
				continue // see TestBaselineRefused
			}
			t.Run(host+"/"+tmpl.String(), func(t *testing.T) {
				var got strings.Builder
				for _, v := range [][2]int{{0, 1}, {5, 6}} {
					fmt.Fprintf(&got, "# vCPU %d of %d\n%s", v[0], v[1], render(build(t, host, tmpl, v[0], v[1])))
				}
				file := filepath.Join("testdata", host+"."+tmpl.String()+".golden")
				if *update {
					if err := os.WriteFile(file, []byte(got.String()), 0o666); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// Every place that tells an APIC id or a number of processors says the same.
func TestTopology(t *testing.T) {
	for _, host := range hosts {
		for _, count := range []int{1, 2, 3, 4, 5, 16, 33, 64} {
			for _, index := range []int{0, count / 2, count - 1} {
				t.Run(fmt.Sprintf("%s/%d of %d", host, index, count), func(t *testing.T) {
					tab := &table{build(t, host, Host, index, count)}
					bits := uint32(0)
					for 1<<bits < count {
						bits++
					}
					checkIDs(t, tab, uint32(index), uint32(count), bits)
					checkCaches(t, tab, bits)
					if tab.vendor() == amd {
						checkAMD(t, tab, uint32(index), uint32(count), bits)
					}
				})
			}
		}
	}
}

// checkIDs looks at leaves 1 and 0xB.
func checkIDs(t *testing.T, tab *table, id, count, bits uint32) {
	t.Helper()
	f := tab.find(leafFeatures)
	if f.Ebx>>24 != id || f.Ebx>>16&0xFF != 1<<bits || (f.Edx&htt != 0) != (count > 1) || f.Ebx>>8&0xFF != 8 {
		t.Errorf("leaf 1 EBX %#x, EDX %#x", f.Ebx, f.Edx)
	}
	levels := []Entry{
		{Function: leafTopology, Index: 0, Flags: indexed, Eax: 0, Ebx: 1, Ecx: 0x100, Edx: id},
		{Function: leafTopology, Index: 1, Flags: indexed, Eax: bits, Ebx: count, Ecx: 0x201, Edx: id},
		{Function: leafTopology, Index: 2, Flags: indexed, Ecx: 2, Edx: id},
	}
	for i, want := range levels {
		if diff := cmp.Diff(&want, tab.findSub(leafTopology, uint32(i))); diff != "" {
			t.Errorf("leaf 0xb, level %d:\n%s", i, diff)
		}
	}
}

// checkCaches looks at the caches' sharing: level 3 by all, the others by one.
func checkCaches(t *testing.T, tab *table, bits uint32) {
	t.Helper()
	check := func(e *Entry) {
		want := uint32(0)
		if e.Eax>>5&7 == 3 {
			want = 1<<bits - 1
		}
		if got := e.Eax >> 14 & 0xFFF; e.Eax&0x1F != 0 && got != want {
			t.Errorf("leaf %#x: cache %d is shared by %d ids, want %d", e.Function, e.Index, got+1, want+1)
		}
		if e.Function == leafCaches && e.Eax&0x1F != 0 && e.Eax>>26 != 1<<bits-1 {
			t.Errorf("leaf 4: %d cores", e.Eax>>26+1)
		}
	}
	tab.each(leafCaches, check)
	tab.each(leafAMDCaches, check)
}

// checkAMD looks at AMD's own leaves.
func checkAMD(t *testing.T, tab *table, id, count, bits uint32) {
	t.Helper()
	if s := tab.find(leafSizes); s.Ecx&0xFF != count-1 || s.Ecx>>12&0xF != bits {
		t.Errorf("leaf 0x80000008 ECX %#x", s.Ecx)
	}
	ext := tab.find(leafExtFeatures).Ecx
	if (ext&cmpLegacy != 0) != (count > 1) {
		t.Errorf("leaf 0x80000001 ECX %#x", ext)
	}
	if e := tab.find(leafAMDTopology); ext&topoExt != 0 && (e.Eax != id || e.Ebx != id || e.Ecx != 0) {
		t.Errorf("leaf 0x8000001e %+v", e)
	}
}

// No template offers an instruction that KVM did not.
func TestNothingInvented(t *testing.T) {
	words := []struct {
		name string
		leaf uint32
		bits func(*Entry) uint32
		ours uint32 // emulated by KVM or data only
	}{
		{"1 ECX", leafFeatures, func(e *Entry) uint32 { return e.Ecx }, x2apic | tscDeadline | hypervisor},
		{"1 EDX", leafFeatures, func(e *Entry) uint32 { return e.Edx }, htt},
		{"6 EAX", leafPower, func(e *Entry) uint32 { return e.Eax }, 0},
		{"7 EBX", leafExtended, func(e *Entry) uint32 { return e.Ebx }, 0},
		{"7 ECX", leafExtended, func(e *Entry) uint32 { return e.Ecx }, 0},
		{"7 EDX", leafExtended, func(e *Entry) uint32 { return e.Edx }, 0},
		{"d EAX", leafXSave, func(e *Entry) uint32 { return e.Eax }, 0},
		{"80000001 ECX", leafExtFeatures, func(e *Entry) uint32 { return e.Ecx }, cmpLegacy},
		{"80000001 EDX", leafExtFeatures, func(e *Entry) uint32 { return e.Edx }, 0},
		{"80000008 EBX", leafSizes, func(e *Entry) uint32 { return e.Ebx }, 0},
		{"KVM", leafKVMFeatures, func(e *Entry) uint32 { return e.Eax }, 0},
	}
	for _, host := range hosts {
		for _, tmpl := range []Template{Host, Baseline, Emulated} {
			if tmpl == Baseline && host == "amd-ring0-emulated" {
				continue
			}
			have, got := &table{recorded(t, host)}, &table{build(t, host, tmpl, 1, 2)}
			for _, w := range words {
				e := got.find(w.leaf)
				if e == nil {
					continue
				}
				old := uint32(0)
				if h := have.find(w.leaf); h != nil {
					old = w.bits(h)
				}
				if extra := w.bits(e) &^ old &^ w.ours; extra != 0 {
					t.Errorf("%s, %v: leaf %s has %#x more than the host", host, tmpl, w.name, extra)
				}
			}
		}
	}
}

// Host keeps what the guest's clock and remote memory depend on.
func TestHostKeepsKVMFeatures(t *testing.T) {
	const want = kvmClock | kvmClock2 | kvmAsyncPF | kvmAsyncPFInt | kvmPVEOI | kvmStealTime
	for _, tmpl := range []Template{Host, Baseline, Emulated} {
		got := &table{build(t, hosts[0], tmpl, 0, 1)}
		if k := got.find(leafKVMFeatures); k == nil || k.Eax&want != want {
			t.Errorf("%v: KVM features %+v", tmpl, k)
		}
		if s := got.find(leafKVM); s == nil || s.Ebx != 0x4b4d564b || s.Eax < leafKVMFeatures {
			t.Errorf("%v: KVM's leaf %+v", tmpl, s)
		}
	}
}

// Without an in-kernel APIC nothing that needs it is told.
func TestWithoutIRQChip(t *testing.T) {
	entries, err := Build(Config{Supported: recorded(t, hosts[1]), Count: 1, TSCDeadline: true})
	if err != nil {
		t.Fatal(err)
	}
	tab := &table{entries}
	if f := tab.find(leafFeatures); f.Ecx&(x2apic|tscDeadline) != 0 {
		t.Errorf("leaf 1 ECX %#x", f.Ecx)
	}
	if k := tab.find(leafKVMFeatures); k.Eax&(kvmPVEOI|kvmAsyncPFInt|kvmSendIPI) != 0 {
		t.Errorf("KVM features %#x", k.Eax)
	}
}

// Two unlike hosts of a vendor give the same baseline guest.
func TestBaselineIsTheSame(t *testing.T) {
	old := recorded(t, hosts[0])
	tab := &table{slices.Clone(old)}
	tab.find(leafFeatures).Eax = 0x00B0_0F21
	tab.find(leafFeatures).Ecx |= 1 << 1
	tab.find(leafExtended).Ebx = 0xFFFF_FFFF
	tab.find(leafSizes).Eax = 0x3030
	tab.find(leafVendor).Eax = 0x1C
	tab.find(leafKVMFeatures).Eax |= 1 << 17
	one, err1 := Build(Config{Template: Baseline, Supported: old, Count: 4, IRQChip: true, TSCDeadline: true})
	two, err2 := Build(Config{Template: Baseline, Supported: tab.entries, Count: 4, IRQChip: true, TSCDeadline: true})
	if diff := cmp.Diff(one, two); diff != "" || err1 != nil || err2 != nil {
		t.Errorf("%v, %v\n%s", err1, err2, diff)
	}
}

func TestRefused(t *testing.T) {
	good := recorded(t, hosts[0])
	without := func(leaf uint32) []Entry {
		return slices.DeleteFunc(slices.Clone(good), func(e Entry) bool { return e.Function == leaf })
	}
	for _, tt := range []struct {
		name string
		c    Config
		host bool // ErrHost
	}{
		{"no vCPUs", Config{Supported: good}, false},
		{"too many vCPUs", Config{Supported: good, Count: 65}, false},
		{"vCPU beyond the count", Config{Supported: good, Index: 2, Count: 2}, false},
		{"negative vCPU", Config{Supported: good, Index: -1, Count: 2}, false},
		{"unknown template", Config{Supported: good, Count: 1, Template: 7}, false},
		{"empty table", Config{Count: 1}, false},
		{"no leaf 1", Config{Supported: without(1), Count: 1}, false},
		{"no leaf 0x80000001", Config{Supported: without(0x8000_0001), Count: 1}, false},
		{"too much memory", Config{Supported: good, Count: 1, PhysBits: 41}, true},
		{"baseline on less than x86-64-v2", Config{Supported: recorded(t, "amd-ring0-emulated"), Count: 1, Template: Baseline}, true},
		{"baseline without sizes", Config{Supported: without(0x8000_0008), Count: 1, Template: Baseline}, true},
	} {
		if _, err := Build(tt.c); err == nil || errors.Is(err, ErrHost) != tt.host {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

func TestAddressBits(t *testing.T) {
	for _, tt := range []struct {
		tmpl       Template
		need, want int
	}{{Host, 0, 40}, {Host, 33, 40}, {Host, 40, 40}, {Baseline, 33, 39}, {Baseline, 40, 40}} {
		entries, err := Build(Config{Template: tt.tmpl, Supported: recorded(t, hosts[0]), Count: 1, PhysBits: tt.need})
		if err != nil {
			t.Fatal(err)
		}
		if got := (&table{entries}).find(leafSizes).Eax & 0xFF; got != uint32(tt.want) {
			t.Errorf("%v with %d bits tells %d, want %d", tt.tmpl, tt.need, got, tt.want)
		}
	}
}

// Build must not change what it is given: it serves all vCPUs.
func TestSupportedIsNotChanged(t *testing.T) {
	for _, tmpl := range []Template{Host, Baseline, Emulated} {
		s := recorded(t, hosts[0])
		if _, err := Build(Config{Template: tmpl, Supported: s, Index: 3, Count: 4}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(recorded(t, hosts[0]), s); diff != "" {
			t.Errorf("%v: %s", tmpl, diff)
		}
	}
}

func TestParseTemplate(t *testing.T) {
	for _, want := range []Template{Host, Baseline, Emulated} {
		if got, err := ParseTemplate(want.String()); got != want || err != nil {
			t.Errorf("%v: %v, %v", want, got, err)
		}
	}
	if _, err := ParseTemplate("max"); err == nil || !strings.Contains(err.Error(), "host, baseline, emulated") {
		t.Errorf("max: %v", err)
	}
}
