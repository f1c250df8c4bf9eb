// Package layer is the storage of a volume's blocks on a file system: a sparse
// array of blocks of 4 KiB, each with a checksum, that power can be cut from at
// any moment.
//
// What it isn't: it knows no volume names, no snapshots and no parents (package
// storage puts layers on top of each other), no network.
//
// # Format, version 1
//
// A layer is a directory of three sparse files. Integers are little-endian.
//
//	a, b   two slots for each block: block n is at byte 4096*n of one of them
//	map    a page of headers, then 16 bytes for each block
//
// A header is 128 bytes; there are two, at 0 and at 512 of map, written in
// turn; the one with the higher sequence whose checksum is right counts:
//
//	 0  8   "SVLAYER\x00"
//	 8  u32 version (1)
//	12  u32 block size (4096)
//	16  u64 sequence
//	24  u64 layer's id
//	32  u64 size in blocks
//	40  u64 durable: entries up to this generation are on stable storage
//	48  u64 limit: no entry has a generation from this on
//	56  u64 common: see Layer.SetCommon
//	64  u8  1: closed in order, nothing to recover
//	124 u32 CRC-32C of the 124 bytes before
//
// The entry of block n is at 4096+16*n of map:
//
//	 0  u32 CRC-32C of what was written to slot a
//	 4  u32 the same of slot b
//	 8  u40 generation in which the current state was written
//	13  u8  bits 0 and 1 the current state, 2 and 3 the previous one:
//	        0 never written (the parent's, or zeroes), 1 zeroes, 2 in a, 3 in b
//	14  u16 check of the 14 bytes before and of n
//
// Sixteen zero bytes are a block that was never written.
//
// # Why nothing is lost
//
// Generations count flushes. Within one, all writes are volatile; a flush makes
// all of the past ones durable. A block whose current state is durable is
// written to the other slot, and its entry keeps the durable state as the
// previous one. A block that is volatile already is written in place: nobody was
// promised it. So what the last flush made durable is in a slot that is not
// touched, with its checksum in the entry, until another flush has returned. A
// block that a flush under way is making durable can't be written at all until
// that returns; the write waits.
//
// After power was lost, the entries of generations after header.durable are
// checked (an entry does not cross a sector, so it is old or new): if the current
// slot does not match its checksum, the write was cut off, and the previous state,
// which is the flushed one, is the block's. header.durable lags by one flush,
// which costs some checking and saves a sync.
//
// Entries that were used last are also in the process's memory (pages), for
// reading only: each change is written to map before it is answered. What the disk
// makes of an entry meanwhile shows at the next Open, or in a Scrub.
//
// A flush is one fdatasync of each file that was written to; their order does
// not matter. A process that is killed loses nothing: what was answered is in
// the page cache.
//
// # Space
//
// A block that was overwritten occupies both slots until Scrub, or Reclaim when
// the file system is full, frees the one that is not current. Discarded blocks are
// freed after the next flush.
//
// # Locks
//
// gate (a flush holds it to begin a generation, changes share it) before a
// stripe (256 blocks: changes hold it, reads share it) before mu.
package layer
