package cpuid

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const defaultBrand = "splitvm virtual processor"

// MaxCPUs is how many vCPUs a guest may have: their APIC ids fit 8 bits.
const MaxCPUs = 64

// ErrHost says that the host lacks what the template needs.
var ErrHost = errors.New("host processor is not enough")

// Config is what Build works from.
type Config struct {
	Template  Template
	Supported []Entry // KVM_GET_SUPPORTED_CPUID; not changed

	Index int // of the vCPU, which is its APIC id
	Count int // of vCPUs, 1 to MaxCPUs

	// PhysBits is how many guest-physical address bits the machine needs
	// (layout.Map.PhysBits). The guest is told the host's number, or with
	// Baseline the same on every host.
	PhysBits int

	// Brand is the processor's name, 47 characters at most; a name of ours if
	// empty, as KVM supplies none, and with Baseline.
	Brand string

	// IRQChip: the APICs are KVM's, which has x2APIC. TSCDeadline: KVM's
	// APIC timer has the TSC-deadline mode (KVM_CAP_TSC_DEADLINE_TIMER).
	IRQChip     bool
	TSCDeadline bool
}

// Build makes a vCPU's table. It fails with ErrHost when the host doesn't have
// what Baseline promises, or fewer address bits than asked for.
func Build(c Config) ([]Entry, error) {
	if c.Count < 1 || c.Count > MaxCPUs || c.Index < 0 || c.Index >= c.Count {
		return nil, fmt.Errorf("CPUID of vCPU %d of %d: give 1 to %d vCPUs", c.Index, c.Count, MaxCPUs)
	}
	t := &table{slices.Clone(c.Supported)}
	for _, leaf := range []uint32{leafVendor, leafFeatures, leafExtMax, leafExtFeatures} {
		if t.find(leaf) == nil {
			return nil, fmt.Errorf("CPUID: KVM supports no leaf %#x", leaf)
		}
	}
	t.interrupts(&c)
	if err := c.Template.apply(t); err != nil {
		return nil, err
	}
	if err := t.addressBits(&c); err != nil {
		return nil, err
	}
	if c.Template != Baseline {
		t.brand(cmp.Or(c.Brand, defaultBrand))
	}
	t.topology(uint32(c.Index), uint32(c.Count))
	return t.sorted(), nil
}

// interrupts sets what depends on where the APICs are, and that there is a
// hypervisor. KVM's own list is for an in-kernel APIC, and did not have the TSC
// deadline before Linux 6.15.
func (t *table) interrupts(c *Config) {
	f := t.find(leafFeatures)
	f.Ecx |= hypervisor
	f.Ecx &^= x2apic | tscDeadline
	f.Edx |= apic
	if c.IRQChip {
		f.Ecx |= x2apic
		if c.TSCDeadline {
			f.Ecx |= tscDeadline
		}
	} else if k := t.find(leafKVMFeatures); k != nil {
		k.Eax &^= kvmNeedsAPIC
	}
}

// addressBits checks the host's number of physical address bits and sets the
// guest's.
func (t *table) addressBits(c *Config) error {
	const defaultBits = 36 // of processors that don't tell
	need, have := c.PhysBits, defaultBits
	if c.Template == Baseline {
		need = max(need, baselineBits)
	}
	e := t.find(leafSizes)
	if e != nil {
		have = int(e.Eax & 0xFF)
	}
	if need > have {
		return fmt.Errorf("%w: the guest needs %d physical address bits, the host has %d: give it less memory", ErrHost, need, have)
	}
	if c.Template == Baseline {
		e.Eax = e.Eax&^0xFF | uint32(need)
	}
	return nil
}
