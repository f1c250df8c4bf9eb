// Package transport moves bytes between a monitor and its clients: byte streams
// with scatter-gather input and output straight from and to the caller's
// memory, over TCP and unix sockets and, on one host, through shared memory.
//
// What it isn't: it knows no messages (remote/wire), no reconnecting
// (remote/client).
//
// # Why not net.Conn
//
// The connections are blocking sockets, driven by recvmsg and sendmsg on the
// goroutine that calls, and not by the Go runtime's poller. A goroutine that
// waits in the poller costs a failed read, an epoll_wait, a scheduling round
// and often a wake-up of a second thread for each message; one that blocks in
// recvmsg costs the system call. net.Buffers has no reading side at all, so it
// cannot scatter a payload into pages. See below for the measured ratio.
//
// The price is a thread per blocked connection (two per peer), which is small
// for the number of peers that a monitor has.
//
// # Shared memory
//
// Between two processes of one host, two rings in a memfd and futexes take half
// the time of a unix socket, for a single line and per line of a batch
// (BenchmarkReadRTT and BenchmarkLines of monitors/memory, in turns on a machine
// of two processors that was busy otherwise too: p50 of a 4 KiB read 0.45 to 0.7
// of a bare TCP ping-pong's, 0.9 to 1.1 over unix, 1.0 to 1.15 over TCP, and 1.3 to
// 1.75 for a ping-pong by package net; processor time per line in batches 0.35 to
// 0.8 of TCP's). The copies
// are Go's there: memory that such a connection sends from or receives into must
// not be registered with userfaultfd in this process.
//
// # Tried, and not done
//
//   - Reading header and payload of a demand together into a buffer, and copying
//     the payload from there: saves a recvmsg and 0.7 us of 17 into memory that
//     is hot, nothing into fresh pages of a memfd, where lines go.
//   - Polling before blocking (Spin): on two processors that others use as well
//     it gains nothing at the median and loses much at p99. It is an option for
//     hosts with processors to spare.
//   - sendfile, splice and MSG_ZEROCOPY from the monitor's memory: none tells when
//     the last byte has left (over loopback the page itself is queued at the
//     receiver), so a frame could be reused while it is still being sent.
//
// # Concurrency
//
// One goroutine may receive and another send at the same time. Shutdown may be
// called at any time by anybody and makes both return; Close frees the
// descriptor and is called by the owner after both have returned.
package transport
