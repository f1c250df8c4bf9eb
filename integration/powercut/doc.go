// Package powercut is a disk that loses power: a block device of Linux whose
// write cache is volatile. A file system is made on it, a program runs on that,
// and when Cut is called, or at the operation that Arm named, the power goes.
// What a real disk may hold then is the Image that Cut returns, which the next
// Disk is made of: everything up to the last flush, and of what was written since
// any part, in sectors of 512 bytes (the first 4 KiB are one), in any order.
//
// What it isn't: no model of a failing disk. It loses what it may lose, never
// what it promised, unless Config.LoseFlushes has it lie, for tests of tests.
//
// # How
//
// The disk is a file that this process serves by FUSE, with a loop device on it.
// Linux flushes the device by fsync of the file; so each fsync makes durable what
// was written before. After the cut all requests wait: nobody is told of anything
// that happened after it. The user of the disk is killed meanwhile, and when it
// can run no further instruction, Discard lets its requests end, with success and
// to no effect, so that the kernel gives the old file system up without an error.
//
// It needs root, /dev/fuse and /dev/loop-control. Tests call Alone, and then have
// a mount namespace and a process namespace of their own: whatever becomes of
// them, no mount, loop device, process or file stays.
//
// That needs some care. A thread that waits for the disk can't be killed; and the
// last process of a mount namespace unmounts what is in there when it ends, before
// its files are closed. So the process that serves the disk may neither touch what
// is on it nor have it mounted in its namespace: the program on the disk has that
// in one of its own (Host.On). When the server ends, for whatever reason, its
// requests fail, and the program and its mount end after it.
//
// # Locks
//
// cache.mu is the only one.
package powercut
