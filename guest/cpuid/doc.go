// Package cpuid decides what a guest's CPUID instruction says.
//
// Build is a pure function: from what KVM supports on this host
// (KVM_GET_SUPPORTED_CPUID), a template and a vCPU's place it makes the table
// for KVM_SET_CPUID2. It asks neither the processor nor KVM. It never offers
// what the host did not, but for what KVM emulates whatever the host is: the
// in-kernel APIC's x2APIC mode, and topology leaves, which are data only.
//
// Three templates:
//   - Host passes on all that KVM supports.
//   - Baseline is the same on every host of a vendor, x86-64-v2 at heart, so
//     that a vNode can move between hosts.
//   - Emulated hides what kernels would use in ring 0 and a KVM that emulates
//     ring 0 can't do.
//
// In all of them the guest sees one package of as many cores as it has vCPUs,
// one thread each, and APIC ids equal to the vCPUs' numbers.
package cpuid
