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
// # Locks
//
// shard.mu guards the shard's entries in the table, its policy and its held
// copies. It is never held during a system call or a call of a Monitor. A line in a transition is owned by
// the thread that performs its effect; see ept/excache. Order: shard.mu before
// budget.mu.
package ept
