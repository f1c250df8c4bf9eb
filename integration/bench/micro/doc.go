//go:build amd64

// Package micro measures what a guest's memory accesses cost by where its
// memory is: local, behind a userfaultfd with nothing to fetch (the floor), in
// the kernel's swap on zram under the same limit, or in memory monitors.
//
// A cell is one guest: a backend, a pattern of accesses, a share of writes, a
// number of vCPUs and a size of the cache in percent of the working set. Each
// cell runs in a process of its own, whose name here is a part; a backend that
// serves faults does so in another part, as the pager of a real vNode does.
// All backends of a cell run one after the other within each round, in an
// order that changes, so that a host's moods hit all of them.
//
// The conductor (Run) starts the parts and prepares the host for swap; it puts
// everything back. A guest's part talks with it on its standard streams, so
// that a limit can be set at the right moment: it reads its Cell, says ready when
// it has all but the working set in memory, and filled when it has that too,
// each time waits for a line, and writes its Measurement in the end.
package micro
