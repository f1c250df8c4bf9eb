// Package vsock is the virtio socket device (virtio 1.2, 5.10) with its host's
// side in user space: no vhost module and no AF_VSOCK on the host is needed,
// and guests of the same CID don't meet.
//
// A connection joins a port of the guest to a Unix stream socket on the host.
// There are two ways to each end, all four the same underneath:
//
//   - Whoever connects to Config.Path and writes "CONNECT <port>\n" is
//     connected to that port of the guest, and reads "OK <port>\n" when the
//     guest has accepted, or the end of the file when it has not.
//   - A guest that connects to port P of CID 2 is connected to the Unix socket
//     <Path>_<P>, if somebody listens there. (Both as Firecracker has it.)
//   - Device.Dial and Device.Listen are the same for this process; they hold
//     the other end of a socket pair.
//
// Data goes between guest memory and the socket by readv and writev. What a
// socket does not take at once is kept in a buffer per connection, which is
// what the guest is told as its credit: host memory is bounded by
// Config.MaxConns times Config.Buffer, whatever a guest does. A guest that
// sends beyond its credit has its connection reset. Answers to packets that
// belong to no connection are bounded too: with many waiting, the device stops
// to listen until the guest has taken some.
//
// Only stream sockets exist; there are no sequenced packets, and no guest to
// guest connections. The event queue is never used: a live migration would.
//
// One goroutine, the muxer, has all state between Activate and Reset, and
// sleeps in epoll_wait(2) only. All connections end with a Reset; listeners
// and Path outlive it. Lock: Device.mu, held for moments.
package vsock
