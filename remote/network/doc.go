// Package network is the virtual network of the vNodes of one host: a switch
// that carries Ethernet frames between vNodes' ports and a gateway, without
// a network interface of the host's and without privileges.
//
// A port is a SOCK_SEQPACKET socket that carries one frame a message, with
// a virtio_net_hdr_v1 (virtio 1.2, 5.1.6) before it, as a virtio-net device
// reads and writes them: guest memory is touched by the device's readv and
// writev only, and a frame of 64 KiB that is still to be cut into segments, or
// whose checksum is only begun, crosses whole. Where the receiving guest takes
// no such frames, the port finishes them.
//
// One Switch is one network: vNodes of different networks have no switch in
// common, which is all there is to their isolation. A port is one station: it
// carries IPv4 and ARP, from its own MAC and IP address only, so a guest can't
// speak for another; the addresses are given, never learned.
//
// It isn't a router: what leaves the network goes through the station that is
// added with AddStation (package gateway).
//
// Locks: Switch.mu and Port.mu, never both at once. Send and Deliver may be
// called by any number of goroutines.
package network
