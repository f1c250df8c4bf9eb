// Package trouble holds the tests of guests whose memory is remote, under all
// that goes wrong and changes while they run: pagers that are killed, an ExCache
// that is resized, monitors that are lost.
//
// Every role is a process of its own, as in a rack: the VMM is the test, pagers
// and memory monitors are this test binary started again, so that -race covers
// them all, and they talk over loopback TCP. The guests are bare guests on
// this machine's KVM.
//
// With SPLITVM_SOAK=1 the tests that verify memory run for ten minutes.
package trouble
