// Package blockwire is the data protocol between a storage monitor and who uses
// its volumes: operations on volumes, in the messages of package wire (the
// header of 48 bytes, a body in both directions, answers in any order).
//
// What it isn't: it does no I/O; control (create, list, snapshot) is gRPC
// (remote/api). A monitor tells the two apart by the first byte of a connection.
//
// # Operations
//
// The header's object is the volume's id, except in OPEN; offsets are in bytes.
//
//	operation  request                              answer, status OK
//	OPEN       meta: Open                           meta: Opened
//	CLAIM      epoch: the new one; meta: Claim      -
//	READ       offset, count: sectors               payload
//	WRITE      epoch, offset, payload; FlagDurable  -
//	FLUSH      offset: common generation, 0: none   offset: generation that is durable
//	DISCARD    epoch, offset, meta: u64 length      -; FlagDurable
//	ZEROES     epoch, offset, meta: u64 length      -; FlagDurable
//	CHANGED    offset: extent to begin at;          offset: extent to go on at, all ones: none;
//	           meta: Changed                        meta: extents as u32
//	PING       -                                    -
//
// The first message of a connection is OPEN. Requests of a connection that change
// something take effect in the order they were sent; a flush covers what was
// answered before it was sent. A payload has no checksum of its own on the wire:
// it moves between socket and guest memory without passing through the sender's
// or receiver's processor; each block has one at the monitor.
//
// # Numbers
//
// Operations and flags are append-only, as in package wire, and begin at 32 to
// leave room there. Structures may grow at their end; what is beyond the known
// size is ignored.
package blockwire
