package uffd

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Features is the set of optional features of the kernel's interface.
type Features uint64

// The features that a pager of shared memory needs.
const (
	FeatureProtect      Features = 1 << 0  // events of writes to write-protected pages
	FeatureMissingShmem Features = 1 << 4  // events of missing pages of shared memory
	FeatureThreadID     Features = 1 << 8  // events name the thread
	FeatureMinorShmem   Features = 1 << 10 // events of pages that are there, and unmapped
	FeatureProtectShmem Features = 1 << 12 // write protection of shared memory
	FeaturePoison       Features = 1 << 14 // Poison
	FeaturesPager                = FeatureProtect | FeatureMissingShmem | FeatureThreadID | FeatureMinorShmem | FeatureProtectShmem
	ioctlAPI                     = 0xc018aa3f
	ioctlRegister                = 0xc020aa00
	ioctlUnregister              = 0x8010aa01
	ioctlWake                    = 0x8010aa02
	ioctlCopy                    = 0xc028aa03
	ioctlZeropage                = 0xc020aa04
	ioctlWriteProtect            = 0xc018aa06
	ioctlContinue                = 0xc020aa07
	ioctlNew                     = 0xaa00
	apiVersion                   = 0xaa
	rangeIoctls                  = 1<<2 | 1<<3 | 1<<4 | 1<<6 | 1<<7 // wake, copy, zeropage, write-protect, continue
	userModeOnly                 = 1
)

var featureSince = []struct {
	feature Features
	name    string
	since   string // the first kernel that has it
}{
	{FeatureProtect, "pagefault-flag-wp", "5.7"},
	{FeatureMissingShmem, "missing-shmem", "4.11"},
	{FeatureThreadID, "thread-id", "4.14"},
	{FeatureMinorShmem, "minor-shmem", "5.14"},
	{FeatureProtectShmem, "wp-hugetlbfs-shmem", "5.19"},
	{FeaturePoison, "poison", "6.6"},
}

// ErrNotSupported is wrapped by errors about something that this kernel lacks.
var ErrNotSupported = errors.New("not supported by this kernel")

// MissingError says which features the kernel lacks.
type MissingError struct {
	Features Features
	Kernel   string // release of the running kernel
}

// Error names the features, the kernel and the remedy.
func (e *MissingError) Error() string {
	var names []string
	for _, f := range featureSince {
		if e.Features&f.feature != 0 {
			names = append(names, fmt.Sprintf("%s (Linux %s)", f.name, f.since))
		}
	}
	return fmt.Sprintf("userfaultfd of Linux %s lacks %s: use a newer kernel, or one built with CONFIG_USERFAULTFD and CONFIG_PTE_MARKER_UFFD_WP",
		e.Kernel, strings.Join(names, ", "))
}

// Unwrap makes errors.Is(err, ErrNotSupported) true.
func (e *MissingError) Unwrap() error { return ErrNotSupported }

// missing returns the error for features that the kernel offers less of than needed.
func missing(offered, needed Features) error {
	if lack := needed &^ offered; lack != 0 {
		return &MissingError{Features: lack, Kernel: kernelRelease()}
	}
	return nil
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
