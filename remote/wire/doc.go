// Package wire is the data protocol between a monitor and its clients: a fixed
// header and a raw body, in both directions, over any byte stream.
//
// What it isn't: it does no I/O except in Stream, which reads messages from a
// transport.Conn; it does not know who may ask what (remote/server) or when to
// ask again (remote/client).
//
// # Message
//
// A header is 48 bytes, little-endian:
//
//	 0  u16  magic 0x5653 ("SV")
//	 2  u8   version (1)
//	 3  u8   operation; bit 7 set in answers
//	 4  u8   status: a remote.Kind, 0 in requests
//	 5  u8   flags
//	 6  u16  count: lines of the single run, or runs in the body (FlagRuns)
//	 8  u32  request id, repeated in the answer
//	12  u32  length of the body in bytes, at most MaxBody
//	16  u64  object: vRegion (volume, in time)
//	24  u64  epoch
//	32  u64  offset: first line of the single run; the operation's argument
//	40  u32  body checksum, if FlagSum
//	44  u32  CRC-32C of the 44 bytes before
//
// A body is up to two parts: *meta* (runs, a bitmap, or the fixed structure of
// a control operation) and *lines*, 4096 bytes each, back to back.
//
//	operation  request                           answer, status OK
//	READ       runs                              lines that hold data; FlagZero: none does, no body;
//	                                             FlagMap: meta is a bitmap of the request's lines, in
//	                                             words of 64 bits, set where a line is zero and not sent
//	WRITE      runs, lines                       -
//	DISCARD    runs                              -
//	CREATE     offset: number of lines           -
//	ADOPT      -                                 -
//	DELETE     -                                 -
//	STAT       -                                 epoch, offset: size in lines, meta: u64 lines held
//	STATS      -                                 meta: JSON
//	HELLO      meta: Hello                       meta: Welcome
//	PING       -                                 -
//
// Runs are either one run, in the header, or with FlagRuns count descriptors of
// 8 bytes (u32 first line, u32 number of lines) in meta. An answer whose status
// is not OK has no body. Answers may come in any order; requests of one
// connection that touch the same line take effect in the order they were sent.
//
// The first message of a connection is HELLO, which says what the connection
// is for and whether bodies carry checksums.
//
// # Checksums
//
// The header's is always there and always checked: a stream that lost its place
// cannot be mistaken for a message. The body's is optional per connection. It is
// the CRC-32C over meta and then over the CRC-32C of each line, instead of over
// the lines themselves, so that a monitor can keep each line's checksum with the
// line from the write on, check it nowhere in between, and send it with a read
// for 4 bytes of work a line: a bit that flips in the monitor's memory is
// noticed by the reader.
//
// # Numbers
//
// Operations, flags, error kinds (remote.Kind) and fields of Hello and Welcome
// are append-only. A peer answers an operation that it does not know with
// remote.Unsupported, and skips its body.
//
// # Hostile input
//
// Nothing is allocated by a size from the wire, each count is checked against
// its limit before use, and a message that breaks a rule is an error of kind
// remote.Protocol, upon which the connection is closed.
package wire
