// Package onesided is how a client on a memory monitor's host reads lines without asking: the
// monitor shares its memory and the index of it, and the client copies the line itself. The
// name is RDMA's: a one-sided read takes no processor time of its target, and no thread has to
// be woken.
//
// What it isn't: no writes, and no message; files are passed by remote/transport, and whoever
// can't read a line here asks for it (remote/client).
//
// # Files
//
// The slab is the monitor's frames of one line each, from number 1. The index says which frame
// a line is in. All numbers are the processor's, 8 bytes:
//
//	0      magic, then how many places of the directory were ever used
//	4096   the directory: maxTables of {vRegion, or 0; epoch; lines; how often the place was taken}
//	then   for each a table of MaxVRegionLines entries, the line's frame in the low 32 bits
//	       (0: a line of zeroes), above them how often the entry has changed
//
// The file is sparse: it costs a page for 512 lines of which one was written.
//
// # Why a read is right
//
// Nothing is locked. Read looks at the directory, then the entry, copies the frame, and looks
// at both again. A monitor never changes the contents of a frame that is in the index
// (monitors/memory), so if the entry is the same, it had these contents at one instant in
// between; an entry that changed and changed back differs in its count, and so does a place of
// the directory that was left and taken again. What changed meanwhile is asked for by a message.
//
// That rests on loads not being reordered with loads, nor stores with stores: x86.
//
// # Trust
//
// A client believes nothing that would take it out of its mapping: a frame's number is checked,
// and the files can't shrink. It can read what any vNode has at the monitor, of which by messages
// it would have to know the vRegion's name: the socket is for the monitor's user only. It can't
// write, for it gets descriptors for reading.
package onesided
