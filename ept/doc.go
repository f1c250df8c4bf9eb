// Package ept is the pager of a vNode: it serves the page faults of a guest whose
// memory lives in memory monitors, from an ExCache of a limited number of lines
// in the memfd that the guest runs on.
//
// It runs in another process than the one that maps the guest's memory: a Go
// process that faults on memory which it serves itself hangs for ever.
//
// What it isn't: what may happen to a line when is in ept/excache (pure), which
// line leaves in ept/policy and which come ahead in ept/prefetch (pure), the system calls in
// ept/uffd, the agreement between a VMM and its pager in ept/handoff, monitors
// and their connections in remote.
//
// # Threads
//
// One fault thread per shard (a locked OS thread that blocks in a read of the
// shard's userfaultfd) steps faults and starts READs. A monitor's reader calls back with the payload
// (ReadDone), maps it and so wakes the vCPU itself. One evictor per pager
// keeps free frames ahead of demand; a fault never evicts, it waits for a
// frame if there is none.
//
// # Data
//
// Payloads are received into a frame of the pager and mapped by UFFDIO_COPY, and
// written back by pread from the memfd. The pager doesn't map guest memory:
// measured on Linux 6.18, COPY from a warm frame costs 2.3 to 3.4 us, filling
// the page through a mapping of the pager's and UFFDIO_CONTINUE 4.3 to 6.3 us (the page
// is zeroed first, and the pager takes a fault). COPY also makes a page appear
// whole or not at all, and a guest that shrinks its memfd can't raise SIGBUS here.
//
// # Frames
//
// Every resident line, held copy and READ under way has a credit of the budget;
// they number at most the capacity. A credit moves with its line.
//
// # Moves
//
// A vRegion moves to another memory monitor while the guest runs (move.go). The
// pager conducts it, for it is the vRegion's only writer:
//
//  1. Copying. The owner stays who it was: it is read and written as ever, and
//     has every line. Batches of lines go from it to the new owner over the bulk
//     connections. A set has the lines whose copy is not the newest: all of them at
//     first, and again each that a WRITE or DISCARD was about, marked when that
//     has ended, well or not. The new owner takes no part in the guest's accesses,
//     so it can be slow, full or dead at no cost to the guest.
//  2. Shut. When few are left in the set, no WRITE or DISCARD of the vRegion begins
//     any more; those under way end, and mark their lines; the rest of the set
//     is copied. Now both monitors hold the same. READs go on, at the old owner.
//  3. Commit. The owner is changed, first where a successor of this pager finds it
//     (ept/handoff), then here. Then writes begin again, at the new owner.
//
// An error or a death before the commit leaves the old owner, with everything,
// and a copy that nobody looks at; after it, the new one likewise. If it can't be
// known whether the commit took place, the vRegion stays shut, and the pager fails:
// its successor knows. A READ that was sent to the old owner before the commit
// and is answered after it is right: a line that is Fetching isn't changed. One that fails
// is sent to the new owner.
//
// # Locks
//
// shard.mu guards the shard's entries in the table, its policy and its held
// copies. It is never held during a system call or a call of a Monitor. A line in a transition is owned by
// the thread that performs its effect; see ept/excache. Order: shard.mu before
// budget.mu. changes.mu is taken with no other.
package ept
