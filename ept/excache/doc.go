// Package excache holds the line table of an ExCache and its state machine:
// where the truth of each line of guest memory is, who may move it, and every
// legal step. The steps are one table (steps.go); the code is that table.
//
// It is pure: events are stepped in, effects come out. What it isn't: there is
// no system call, socket, clock, goroutine or lock here; package ept executes
// the effects and reports their outcome as further events.
//
// # States
//
// A line is 4 KiB of guest-physical memory. The *backing* of a line is what its
// memory monitors hold; a line that was never written has none (flag Blank)
// and is all zeroes. The *page* is the line's page in the memfd that the guest
// runs on.
//
//	state        truth     page               what it means
//	Zero         zeroes    none               never written, or written back as zeroes
//	Remote       backing   none               at its memory monitors only
//	Fetching     backing   none               a READ is on its way (on demand or ahead)
//	Held         backing   none               and the pager has a current copy in a frame of its own
//	Mapping      backing   appearing          being mapped write-protected; equal to the backing
//	Opening      page      appearing, or there  being made writable
//	Clean        backing   write-protected    equal to the backing
//	Dirty        page      writable           the backing is older, or in doubt
//	Protecting   page      writable, soon not being write-protected for a write-back
//	WritingBack  page      write-protected    a copy is on its way to every replica
//	Dropping     backing   vanishing          acknowledged or clean, being punched out
//	Discarding   zeroes    none               a DISCARD is on its way
//	Poisoned     lost      unknown            can't be served; the vNode is stopped
//
// Flags: Blank (there is no backing: zeroes), Wait (a vCPU sleeps for the line
// and its event was consumed), Write (it wants to write), Flight (a write-back
// of an older content was not answered yet; the next one has to wait for it).
//
// # Who may move a line
//
// The kernel reports faults; the pager's fault thread of the line's shard steps
// them. The owner of a transition in progress, and nobody else, ends it:
// the thread that got the READ's payload (Fetching), that executes the mapping
// system call (Mapping, Opening), the evictor (Protecting, WritingBack,
// Dropping), the discarder (Discarding). Others who come along leave a flag
// (Wait, Write) which the owner finds when it ends the step. Two exceptions, both for
// writes of the guest: a write fault takes a line out of WritingBack (it is hot:
// it stays, with Flight set), and so keeps the guest from waiting for a network.
//
// # Order of store and effect
//
// The entry is stored before its effect begins. The table outlives the pager
// (SIGKILL at any instruction), so at any instant an entry says at least as
// much as has happened to the page: Opening is stored before a page can be
// written to, Dropping before it is punched, Zero or Remote after the punch is
// done. Recover gives what a successor does with each state.
//
// # Invariants
//
//   - At any instant the current content of a line is in its page (Opening, Dirty,
//     Protecting, WritingBack) or acknowledged by its replicas (the others).
//   - A page is writable by the guest only in Opening, Dirty and Protecting.
//   - At most one write-back of a line is unanswered.
//   - A line whose event was consumed is in a transition, and its end wakes it.
package excache
