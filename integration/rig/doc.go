// Package rig runs whole Linux guests on real hardware-virtualization semantics
// where the machine has none: it boots a machine (L1) in QEMU's emulation with
// nested SVM, in which kvm_amd with nested paging works, and runs commands in it,
// which start guests (L2) with our VMM or with QEMU for a comparison.
//
// It is for correctness, and for ratios between programs in the same boot; its
// absolute times mean nothing. It covers no kvm_intel, no AVIC, and not more
// than 2 vCPUs at speed.
//
// Everything it runs comes from Debian packages in a cache folder (package debs);
// the machine needs apt-get, dpkg-deb and the Go toolchain. Nothing is left
// behind by a Machine, however its process ends: the emulator dies with the
// thread that started it, and its files have no names (memfd, unlinked).
//
// # Inside the machine
//
//	/usr, /lib ...     programs with their libraries: qemu-system-x86_64, fio, mke2fs, mksquashfs, strace, ...; busybox for the rest
//	/kernels/SERIES/   bzImage, vmlinux, config, lib/modules/RELEASE of Debian's cloud kernels 6.1 and 6.12
//	/images/           guest roots: root.squashfs, root.ext4
//	/scratch           ext4 on a disk of its own, as large as asked for; thrown away
//	/tmp, /dev/shm     in memory
//	/dev/rig/SERIAL    the disks that the caller gave
//
// Lock order: Machine.mu, then a session's. Neither is held while the caller's
// writers are called or the link is written.
package rig
