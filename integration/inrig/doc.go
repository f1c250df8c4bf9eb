// Package inrig holds the tests that run inside the nested rig (package rig),
// where /dev/kvm has real kvm_amd semantics: whole Linux guests, and QEMU beside
// them for a comparison in the same boot. Elsewhere they skip.
//
//	make rig                       all of them, in one boot
//	make rig RUN='TestQEMU/6.12'   some
//
// What is where in the machine, package rig's documentation says. A test keeps
// its files in t.TempDir (memory) or below /scratch, asserts no absolute time
// and gives timeouts five times the usual.
package inrig
