// Package net is the virtio network device (virtio 1.2, 5.1).
//
// It moves frames between a guest's queues and a Backend's descriptors by
// readv and writev straight on guest memory, with the 12-byte virtio_net_hdr
// before each frame on both sides: checksum and segmentation offloads pass
// through untouched and unread. It isn't a network: it knows no address but
// its own, and filters nothing itself (Backend.Apply may).
//
// Each pair of queues in use has two goroutines, one per direction. The
// receiving one sleeps in poll(2) on the descriptor, or on its queue's Kick
// when the guest is out of buffers, and always on a stop event beside it, so
// a reset never has to wait for a frame. poll was as fast as Go's network poller (8.8 against 8.2
// us for a frame to a sleeping reader, within the noise of the machine), and
// does not mind a tap queue that is detached for a while.
//
// With mergeable buffers a frame may take several chains. How long a frame is
// shows only when it has been read, so the receiver keeps chains for the
// largest possible frame in hand. Where the guest has supplied fewer, a frame
// is read into a buffer of ours first and written to the guest when enough
// have come.
//
// Locks: Device.mu guards the configuration. Everything between Activate and
// Reset belongs to one goroutine each, as the fields say.
package net
