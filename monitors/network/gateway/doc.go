// Package gateway is the way out of a virtual network: a station with gVisor's
// network stack, which ends the guests' connections here and opens ones of the
// host's in their place (NAT without privileges), answers their name queries
// and their DHCP, and lets the host's ports lead to guests.
//
// What leaves: TCP and UDP to any address that Config.Reachable lets through,
// and ICMP echo as far as the kernel lets this process send it. What doesn't:
// anything to the host's loopback, to link-local and multicast addresses, and
// to the virtual networks themselves, which the switch alone carries.
//
// A connection has a goroutine per direction. All end with Close, which waits
// for them.
package gateway
