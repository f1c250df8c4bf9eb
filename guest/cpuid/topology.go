package cpuid

import "math/bits"

// topology gives the vCPU its APIC id and makes the guest one package of count
// cores with one thread each, in every leaf that tells it. An APIC id is the
// core's number: the package is what lies above coreBits.
func (t *table) topology(id, count uint32) {
	coreBits := uint32(bits.Len32(count - 1))
	ids := uint32(1) << coreBits // APIC ids reserved for the package
	t.legacyTopology(id, count, ids)
	t.extendedTopology(id, count, coreBits)
	t.cacheSharing(ids)
	t.amdTopology(id, count, coreBits)
}

// legacyTopology is leaf 1: initial APIC id, number of ids in the package.
func (t *table) legacyTopology(id, count, ids uint32) {
	f := t.find(leafFeatures)
	f.Ebx = f.Ebx&0xFFFF | ids<<16 | id<<24
	f.Edx &^= htt
	if count > 1 {
		f.Edx |= htt
	}
}

// extendedTopology is leaves 0xB and 0x1F, where the host has them: level 0 is
// the thread, level 1 the core.
func (t *table) extendedTopology(id, count, coreBits uint32) {
	const thread, core = 1 << 8, 2 << 8
	levels := []Entry{
		{Index: 0, Flags: indexed, Eax: 0, Ebx: 1, Ecx: 0 | thread, Edx: id},
		{Index: 1, Flags: indexed, Eax: coreBits, Ebx: count, Ecx: 1 | core, Edx: id},
		{Index: 2, Flags: indexed, Ecx: 2, Edx: id},
	}
	for _, leaf := range []uint32{leafTopology, leafTopology2} {
		if t.find(leaf) != nil {
			t.put(leaf, levels...)
		}
	}
}

// cacheSharing is leaf 4 of Intel and 0x8000001D of AMD: the caches up to level
// 2 belong to one core, those above to the package.
func (t *table) cacheSharing(ids uint32) {
	share := func(e *Entry) {
		const kinds = 0x1F
		if e.Eax&kinds == 0 {
			return // the end of the list
		}
		e.Eax &^= 0xFFF << 14
		if level := e.Eax >> 5 & 7; level > 2 {
			e.Eax |= (ids - 1) << 14
		}
	}
	t.each(leafCaches, func(e *Entry) {
		share(e)
		if e.Eax&0x1F != 0 {
			e.Eax = e.Eax&^(0x3F<<26) | (ids-1)<<26
		}
	})
	t.each(leafAMDCaches, share)
}

// amdTopology is AMD's leaves. 0x80000026 goes, as Linux prefers it and it would
// be the host's.
func (t *table) amdTopology(id, count, coreBits uint32) {
	t.put(leafAMDTopology2)
	if t.vendor() != amd {
		return
	}
	ext := t.find(leafExtFeatures)
	ext.Ecx &^= cmpLegacy
	if count > 1 {
		ext.Ecx |= cmpLegacy
	}
	if e := t.find(leafSizes); e != nil {
		e.Ecx = e.Ecx&^0xF0FF | (count - 1) | coreBits<<12
	}
	if ext.Ecx&topoExt != 0 {
		t.put(leafAMDTopology, Entry{Eax: id, Ebx: id, Ecx: 0})
	}
}
