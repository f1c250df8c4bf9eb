// Package tunnel is a connection with the control socket of a vNode on another
// host: a stream of gRPC to the processor monitor that runs the vNode, which
// joins it with the socket there.
//
// What it isn't: no protocol of its own. The bytes are those that a client on the
// vNode's own host would exchange: HTTP, and for the agent, the console and the
// logs what an HTTP connection is upgraded to.
//
// A peer that is silent because its host is gone is noticed by gRPC's keepalive;
// Dial has the caller's deadline.
package tunnel
