// Package uffd is a thin layer on the kernel's userfaultfd: page faults of one
// process as events that another may serve.
//
// A File is opened, agreed upon (Handshake) and given ranges (Register) by the
// process whose memory it is about. It can then be passed to another process,
// which reads the events and maps pages with the other methods; the addresses
// are those of the first process throughout.
//
// What it isn't: no policy, no retry, no goroutine. Errors carry the kernel's
// errno, and the methods' comments say what each means here.
//
// Source: linux/include/uapi/linux/userfaultfd.h and
// Documentation/admin-guide/mm/userfaultfd.rst of 6.18. Needs 5.19 (write
// protection of shared memory); ModeWP of Continue needs 6.4.
package uffd
