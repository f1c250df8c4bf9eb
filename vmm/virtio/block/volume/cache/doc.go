// Package cache is the bookkeeping of a write-back cache of a volume's blocks: which
// blocks are in it, which of them the storage monitors don't have yet, what is sent
// next and what gives way. It is pure: contents, messages and the lock are the caller's.
//
// The cache is volatile like a disk's own (virtio 1.2, 5.2.6.2): a write that was
// answered is there for every later read, and durable when a flush that began after
// its answer has ended. Within that, writes may reach the volume in any order.
//
// A block is in one of these states:
//
//	absent    the volume has its content
//	filling   a read will bring its content
//	clean     the cache has its content, and so has the volume
//	dirty     the cache has its content, the volume an older one
//	sending   a copy of its content is on its way to the volume
//	both      dirty and sending: it was written since the copy was made
//
// These are the steps:
//
//	absent  -> filling            BeginRead that misses
//	filling -> clean, absent      EndFill; absent if a write came meanwhile, or it failed
//	any     -> dirty, both        EndWrite
//	dirty   -> sending            Next
//	sending -> clean, dirty       Sent; dirty if it failed
//	both    -> dirty              Sent
//	clean   -> absent             for room
//	any     -> absent             Drop
//
// Three kinds of holds keep a block as it is: a reader's, so that its content does not
// go; a writer's, so that half of a write is not sent; and that of a direct change,
// which goes to the volume past the cache because the block is not in it, so that no
// content that was read before such a change, or sent beside it, is taken for the newest.
package cache
