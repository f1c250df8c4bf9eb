// Package server serves a store of lines to connections that speak remote/wire.
//
// What it isn't: it stores nothing (Store is its consumer's interface to who
// does, monitors/memory in the first place), and it does not decide who may ask
// for what: every peer that can connect is trusted with every vRegion, as long
// as the network is.
//
// # A connection
//
// One goroutine on its own thread does everything for a connection: it receives
// requests, executes them and sends answers. There is no queue between them and
// no lock around the socket; the store's locks are taken and released inside of
// its methods, which do no I/O. A peer that doesn't read its answers or stops
// in the middle of a message blocks its own goroutine only, and that for at most
// Config.MessageTimeout.
//
// Requests of a connection are executed in order. Answers are collected while
// more requests are already there, and sent together: on a demand connection
// as soon as no complete request is buffered, on a bulk connection as soon as
// the socket is empty.
//
// The payload of a write is received from the socket into frames of the store
// that no reader sees yet; the payload of a read is sent from frames that are
// pinned meanwhile. Nothing is allocated for a request.
//
// # Locks
//
// Server.mu and sessions.mu are for connecting and closing; neither is held
// while waiting, and neither is taken with the other.
package server
