package cpuid

import (
	"cmp"
	"slices"

	"github.com/bobuhiro11/gokvm/kvm"
)

// Entry is struct kvm_cpuid_entry2: the registers for one leaf or subleaf.
type Entry = kvm.CPUIDEntry2

// indexed is KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the entry is for one subleaf.
const indexed = 1

// Leaves (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E).
const (
	leafVendor    = 0x0
	leafFeatures  = 0x1
	leafCaches    = 0x4
	leafPower     = 0x6
	leafExtended  = 0x7
	leafTopology  = 0xB
	leafXSave     = 0xD
	leafTopology2 = 0x1F

	leafKVM         = 0x4000_0000
	leafKVMFeatures = 0x4000_0001

	leafExtMax       = 0x8000_0000
	leafExtFeatures  = 0x8000_0001
	leafBrand        = 0x8000_0002 // and the two after it
	leafL1           = 0x8000_0005
	leafL2           = 0x8000_0006
	leafPowerExt     = 0x8000_0007
	leafSizes        = 0x8000_0008
	leafAMDCaches    = 0x8000_001D
	leafAMDTopology  = 0x8000_001E
	leafAMDTopology2 = 0x8000_0026
)

// table is a CPUID table under construction.
type table struct{ entries []Entry }

// find returns the entry of a leaf, or of its subleaf 0; nil if there is none.
func (t *table) find(leaf uint32) *Entry { return t.findSub(leaf, 0) }

func (t *table) findSub(leaf, sub uint32) *Entry {
	for i := range t.entries {
		e := &t.entries[i]
		if e.Function == leaf && (e.Flags&indexed == 0 || e.Index == sub) {
			return e
		}
	}
	return nil
}

// put replaces all entries of a leaf; none drops it.
func (t *table) put(leaf uint32, entries ...Entry) {
	t.entries = slices.DeleteFunc(t.entries, func(e Entry) bool { return e.Function == leaf })
	for _, e := range entries {
		e.Function = leaf
		t.entries = append(t.entries, e)
	}
}

// each calls f for the entries of a leaf.
func (t *table) each(leaf uint32, f func(*Entry)) {
	for i := range t.entries {
		if t.entries[i].Function == leaf {
			f(&t.entries[i])
		}
	}
}

// sorted is by leaf and subleaf.
func (t *table) sorted() []Entry {
	slices.SortFunc(t.entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Index, b.Index))
	})
	return t.entries
}

// vendor is the processor's, as far as it matters here.
type vendor int

const (
	otherVendor vendor = iota
	intel
	amd
)

func (t *table) vendor() vendor {
	e := t.find(leafVendor)
	switch {
	case e == nil:
	case e.Ebx == 0x756E6547 && e.Edx == 0x49656E69 && e.Ecx == 0x6C65746E: // GenuineIntel
		return intel
	case e.Ebx == 0x68747541 && e.Edx == 0x69746E65 && e.Ecx == 0x444D4163, // AuthenticAMD
		e.Ebx == 0x6F677948 && e.Edx == 0x6E65476E && e.Ecx == 0x656E6975: // HygonGenuine
		return amd
	}
	return otherVendor
}
