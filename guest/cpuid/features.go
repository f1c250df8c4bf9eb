package cpuid

// Feature bits. Leaf 1, ECX.
const (
	sse3        = 1 << 0
	pclmulqdq   = 1 << 1
	ssse3       = 1 << 9
	fma         = 1 << 12
	cx16        = 1 << 13
	pcid        = 1 << 17
	sse41       = 1 << 19
	sse42       = 1 << 20
	x2apic      = 1 << 21
	popcnt      = 1 << 23
	tscDeadline = 1 << 24
	aes         = 1 << 25
	xsave       = 1 << 26
	osxsave     = 1 << 27
	avx         = 1 << 28
	f16c        = 1 << 29
	rdrand      = 1 << 30
	hypervisor  = 1 << 31
)

// Leaf 1, EDX: those of every x86-64 processor, and hyper-threading, which says
// that leaf 1's count of logical processors is valid.
const (
	apic       = 1 << 9
	htt        = 1 << 28
	basicFlags = 0x078B_FBFD // fpu to sse2: without vme, psn, ds, acpi, ss, htt, tm, pbe
)

// Leaf 6, EAX.
const arat = 1 << 2 // the APIC timer runs in every sleep state

// Leaf 0x80000001, ECX and EDX.
const (
	lahf      = 1 << 0
	cmpLegacy = 1 << 1
	topoExt   = 1 << 22

	syscall = 1 << 11
	nx      = 1 << 20
	rdtscp  = 1 << 27
	lm      = 1 << 29
	// amdBasic are leaf 1's EDX bits that AMD repeats.
	amdBasic = 0x0183_F3FD
)

// KVM's features (Documentation/virt/kvm/x86/cpuid.rst), EAX.
const (
	kvmClock       = 1 << 0
	kvmNoIODelay   = 1 << 1
	kvmClock2      = 1 << 3
	kvmAsyncPF     = 1 << 4
	kvmStealTime   = 1 << 5
	kvmPVEOI       = 1 << 6
	kvmPVUnhalt    = 1 << 7
	kvmTLBFlush    = 1 << 9
	kvmAsyncPFExit = 1 << 10
	kvmSendIPI     = 1 << 11
	kvmPollControl = 1 << 12
	kvmSchedYield  = 1 << 13
	kvmAsyncPFInt  = 1 << 14
	kvmClockStable = 1 << 24
	kvmNeedsAPIC   = kvmPVEOI | kvmPVUnhalt | kvmSendIPI | kvmAsyncPFInt
)
