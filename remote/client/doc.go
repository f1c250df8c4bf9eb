// Package client talks to a memory monitor: two connections, one for demands
// and one for bulk, kept up by the client, with many requests on the way.
//
// What it isn't: it knows one monitor; which monitor owns a vRegion, replicas
// and retries after an error are its caller's. It does not cache and it does not
// look at payloads, except for checksums.
//
// # Requests
//
// The interface is asynchronous: Submit sends on the calling thread, without
// waiting, and Request.Done is called on the thread that received the answer,
// when the payload is already where Request.Mem said. There is no hand-over in
// between: a pager maps the page right there. The payload goes from the socket
// into Mem by recvmsg, and from Mem into the socket by sendmsg; Go code touches
// it only to compute checksums. The methods of remote.LineStore and
// remote.VRegions wrap this for callers that can afford to wait.
//
// On a bulk connection, requests that are submitted while answers are being
// taken, from Done for one, are sent together when there are no more answers to
// take, or 16 have been taken.
//
// From a monitor on the same host that shares its memory (over shm:), demands are read
// without a message where that is possible (package onesided): by the thread that submits, in
// the time of a copy.
//
// # What a failure means
//
// Every request has a deadline, and is done not later than that, give or take
// 20 ms. When a connection is lost, its requests wait for the next one, and are
// sent again; the monitor makes sure (remote/server, sessions) that what was
// left of them on the old connection is not executed any more. So a write may
// take effect twice, but both times before it is acknowledged: harmless as long
// as a line has one writer at a time, which is the pager of its vNode. For the
// same reason a write or discard that fails with Timeout or Cancelled takes its
// connection down: it may have been executed or not, but it will not be
// executed later, after a request that is submitted on the same class now.
//
// Restarted is final: the monitor is another process than the one that this
// client has written to, so what it holds is not what was written. Make a new
// client if that is acceptable. Fenced is final as well: a newer incarnation of
// the session has taken over.
//
// # Threads and locks
//
// Each link (connection of a class) has a goroutine locked to a thread, which
// receives, and one that sends where sending would block. link.mu is held for
// some pointers at a time and never during a system call or Done. Lock order:
// none, a link's mutex is never taken with another.
//
// A process with many threads blocked in such calls needs as many of Go's
// processors: set GOMAXPROCS to the number of processors plus the number of
// connections, or a returning call can wait up to 10 ms for one that is nominally in
// use by a thread that sleeps.
package client
