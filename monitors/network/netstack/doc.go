// Package netstack is gVisor's network stack on the frames of a virtual network
// (remote/network): an interface that takes and gives frames with their
// virtio_net_hdr, so that large segments stay whole. The gateway ends guests'
// connections in such a stack, and tests have one in a guest's place.
//
// gVisor's stack is imported here, and by the packages that use its connections
// (gateway, guesttest), only. (gvisor-tap-vsock, which wraps it for the same
// purpose, wants a release of it from 2024 and brings 60 more packages; the
// switch is ours in any case.)
package netstack
