// Package agent is how the host runs further commands in a guest: the protocol
// between `splitvm exec` and the agent that guest/init is, with the host's
// side of it (Run). The guest's side is in guest/init.
//
// # Protocol
//
// One connection, to vsock port Port of the guest, is one session. It carries
// frames: a byte of type, three of length (little-endian), and up to MaxPayload
// bytes. The host's first frame is Start with a Request as JSON; the guest
// answers Started, or Failed, and then both send what the process's streams
// have until the guest sends Exited, which is the last frame. Types are
// numbered append-only.
//
// Standard input has a window of Window bytes beyond what the guest has said
// (Taken) that the process took, so that a process which does not read keeps no
// signal or size waiting behind its input. Outputs have none: the connection
// itself holds a process back whose output nobody takes.
//
// When the host closes the connection, the process's group gets SIGHUP.
//
// It isn't gRPC, for which the init would have to be several times as large
// (2.9 MB without it): the initramfs is guest memory and boot time of every
// vNode.
package agent

// Port is the guest's vsock port. Below 1024 only root can listen in the guest.
const Port = 514

// Version is that of the protocol, in every Request.
const Version = 1

// Limits.
const (
	MaxPayload = 64 << 10  // of a frame
	Window     = 256 << 10 // of standard input, under way
)
