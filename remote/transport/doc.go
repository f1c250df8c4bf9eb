// Package transport moves bytes between a monitor and its clients: byte streams
// with scatter-gather input and output straight from and to the caller's
// memory, over TCP and unix sockets.
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
// cannot scatter a payload into pages. See BenchmarkPingPong in remote/client
// for the measured ratio.
//
// The price is a thread per blocked connection (two per peer), which is small
// for the number of peers that a monitor has.
//
// # Concurrency
//
// One goroutine may receive and another send at the same time. Shutdown may be
// called at any time by anybody and makes both return; Close frees the
// descriptor and is called by the owner after both have returned.
package transport
