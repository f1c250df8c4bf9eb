// Package memory is the memory monitor: it owns vRegions, backs their lines
// with physical memory when they are first written, and serves them.
//
// What it isn't: it does not decide which vRegions it owns (the global
// monitor), keeps no replicas yet, and never writes memory to disk: lines do
// not outlive the process, and its instance id says so to clients.
//
// # Layout
//
// Physical memory is one mapping, the *slab*, cut into frames of one line each.
// A frame has 8 bytes of metadata: a reference count and the checksum of its
// line. A vRegion is an index from line to frame number (package remote/onesided):
// 8 bytes a line, in pages of 512 lines, nothing for pages that were never touched.
// With a listener on shm: the slab is a memory file, and clients on the host read
// lines from it by themselves. They hold no reference to a frame: if it is freed
// meanwhile, the index tells them so.
//
// The index is the only way to a frame, and a line's contents are never changed
// in place. A write is received into free frames, is checked, and then takes
// the old frames' places in the index, all under the vRegion's lock and without
// touching payload. So
//
//   - a message that is cut short or fails its checksum has damaged nothing:
//     its frames go back to the free ones, and nobody has seen them;
//   - a reader sees a line before or after a write, never between;
//   - a read that is being sent holds a reference to the frame, no lock; the
//     frame is freed by whoever drops the last reference;
//   - a snapshot (to come) is a second index over the same frames, one more
//     reference each: copy-on-write needs nothing else, since every write is
//     to another frame already.
//
// # Frames
//
//	free, fresh   never used: zero by the kernel
//	free, clean   used once, given back to the kernel (MADV_DONTNEED): zero
//	free, warm    used once, still backed; zeroed when it is taken
//	spare         freed by an overwrite in a vRegion, kept for the next write in
//	              the same vRegion; not zeroed, since its contents are this
//	              vRegion's own; at most maxSpare, and zeroed when they leave it
//	filling       receives a payload; in a server.Filling, nowhere else
//	held          in an index
//	detached      no longer in an index, but being sent
//
// A frame that passes from one vRegion to another is zeroed on the way. (A frame
// also becomes visible only when all its bytes were received, so zeroing is the
// second lock on that door.)
//
// # Limit
//
// The limit counts lines held. A write beyond it is refused with remote.Full
// and changes nothing, but overwriting a held line always works: the slab has
// headroom beyond the limit for frames that are filling, spare or detached.
//
// # Lock order
//
// vregion.mu, then slab.mu. Store.admin (creating and deleting vRegions) before
// both. No lock is held while a socket is used.
package memory
