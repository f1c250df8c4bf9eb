// Package tap opens Linux tap interfaces as the network of a virtio device:
// frames with virtio_net_hdr, offloads and multiple queues as the kernel
// (Documentation/networking/tuntap.rst) has them.
//
// It makes an interface or attaches to one that exists, which needs
// CAP_NET_ADMIN or, for an existing one, only its ownership (ip tuntap add
// NAME mode tap user U). An interface that Open made goes with Close. Bridges,
// routes, and address translation are not its business.
//
// A Tap's methods are safe for concurrent use; Close must come last.
package tap
