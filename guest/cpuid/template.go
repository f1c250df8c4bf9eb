package cpuid

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Template is how much of the host a guest gets to see.
type Template int

const (
	Host Template = iota
	Baseline
	Emulated
)

var templateNames = []string{Host: "host", Baseline: "baseline", Emulated: "emulated"}

func (t Template) String() string {
	if t < 0 || int(t) >= len(templateNames) {
		return fmt.Sprintf("Template(%d)", int(t))
	}
	return templateNames[t]
}

// ParseTemplate reads a template's name.
func ParseTemplate(s string) (Template, error) {
	for i, name := range templateNames {
		if s == name {
			return Template(i), nil
		}
	}
	return 0, fmt.Errorf("no CPU template %q: give one of %s", s, strings.Join(templateNames, ", "))
}

func (t Template) apply(tab *table) error {
	switch t {
	case Host:
		return nil
	case Baseline:
		return tab.baseline()
	case Emulated:
		tab.emulated()
		return nil
	}
	return fmt.Errorf("no CPU template %v", t)
}

// emulated hides what a kernel would use in ring 0 where each of its
// instructions is emulated by KVM (arch/x86/kvm/emulate.c), which lacks popcnt,
// cmpxchg16b, the xsave family, AVX, crc32, AES and the random numbers; x2APIC
// and the TSC deadline don't work there. Leaf 7 goes as a whole: what is in it is
// either not emulated or slower (rep movsb byte by byte). Programs in ring 3 run
// natively and can use all of it, told or not.
func (t *table) emulated() {
	f := t.find(leafFeatures)
	f.Ecx &^= pclmulqdq | fma | cx16 | pcid | sse42 | x2apic | popcnt | tscDeadline | aes | xsave | osxsave | avx | f16c | rdrand
	t.put(leafExtended, Entry{Flags: indexed})
	t.put(leafXSave)
	const sse4a, xop, fma4, perfctr, mwaitx = 1 << 6, 1 << 11, 1 << 16, 1 << 23, 1 << 29
	t.find(leafExtFeatures).Ecx &^= xop | fma4 | perfctr | mwaitx | sse4a
}

// The signatures (family, model, stepping) of baseline guests: the first of
// each vendor's processors that Linux handles without a quirk and that have all
// of x86-64-v2: Zen and Nehalem.
const (
	signatureAMD   = 0x0080_0F12
	signatureIntel = 0x0001_06A3
)

const (
	// v2 is x86-64-v2 (x86-64 psABI, 3.1.1): what Baseline promises.
	v2Basic    = sse3 | ssse3 | cx16 | sse41 | sse42 | popcnt
	v2Extended = lahf
	extFlags   = syscall | nx | rdtscp | lm

	// baselineKVM is what KVM has offered since Linux 5.10.
	baselineKVM = kvmClock | kvmNoIODelay | kvmClock2 | kvmAsyncPF | kvmStealTime | kvmPVEOI | kvmPVUnhalt |
		kvmTLBFlush | kvmAsyncPFExit | kvmSendIPI | kvmPollControl | kvmSchedYield | kvmAsyncPFInt | kvmClockStable

	baselineMax    = leafTopology
	baselineExtMax = leafSizes
	baselineBits   = 39 // physical address bits, if a machine needs no more: 512 GiB
	virtualBits    = 48 << 8
	clflush        = 8 << 8 // lines of 64 bytes
	baselineBrand  = "splitvm baseline x86-64-v2"
)

// baseline keeps what hosts have in common and drops the rest: unlisted leaves,
// caches, power management, mitigations (which are the host's at any place) and
// the invariant TSC, which a move would break.
func (t *table) baseline() error {
	f, ext := t.find(leafFeatures), t.find(leafExtFeatures)
	if f.Ecx&v2Basic != v2Basic || f.Edx&basicFlags != basicFlags || ext.Ecx&v2Extended != v2Extended || ext.Edx&extFlags != extFlags {
		return fmt.Errorf("%w for the baseline template, x86-64-v2: leaf 1 has %#x %#x, leaf 0x80000001 %#x %#x: use --cpu host",
			ErrHost, f.Ecx, f.Edx, ext.Ecx, ext.Edx)
	}
	signature, extSignature, extEdx := f.Eax, uint32(0), uint32(extFlags)
	switch t.vendor() {
	case amd:
		signature, extSignature, extEdx = signatureAMD, signatureAMD, extFlags|amdBasic
	case intel:
		signature = signatureIntel
	}
	var out table
	out.limit(t, leafVendor, baselineMax)
	out.put(leafFeatures, Entry{Eax: signature, Ebx: clflush, Ecx: v2Basic | f.Ecx&(x2apic|tscDeadline|hypervisor), Edx: basicFlags})
	out.put(leafPower, Entry{Eax: arat})
	out.put(leafTopology, Entry{Flags: indexed})
	out.limit(t, leafExtMax, baselineExtMax)
	out.put(leafExtFeatures, Entry{Eax: extSignature, Ecx: v2Extended, Edx: extEdx})
	out.brand(baselineBrand)
	if e := t.find(leafSizes); e != nil {
		out.put(leafSizes, Entry{Eax: e.Eax&0xFF | virtualBits})
	}
	out.limit(t, leafKVM, leafKVMFeatures)
	if k := t.find(leafKVMFeatures); k != nil {
		out.put(leafKVMFeatures, Entry{Eax: k.Eax & baselineKVM})
	}
	*t = out
	return nil
}

// limit takes over a leaf that holds a vendor's name, with another highest leaf.
func (t *table) limit(from *table, leaf, highest uint32) {
	if e := from.find(leaf); e != nil {
		t.put(leaf, Entry{Eax: highest, Ebx: e.Ebx, Ecx: e.Ecx, Edx: e.Edx})
	}
}

// brand is the processor's name, 47 characters at most.
func (t *table) brand(s string) {
	var b [48]byte
	copy(b[:47], s)
	for i := range uint32(3) {
		r := func(j uint32) uint32 { return binary.LittleEndian.Uint32(b[i*16+j*4:]) }
		t.put(leafBrand+i, Entry{Eax: r(0), Ebx: r(1), Ecx: r(2), Edx: r(3)})
	}
}
