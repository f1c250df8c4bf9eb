package net

// Offload is work on frames that one side leaves to the other.
type Offload uint32

// Offloads by what the giver of a frame has left undone.
const (
	Checksum Offload = 1 << iota // the checksum is only begun
	TSO4                         // TCP over IPv4, to be segmented
	TSO6                         // TCP over IPv6
	ECN                          // the TCP segments may have ECN set
	UFO                          // UDP, to be fragmented
	USO4                         // UDP over IPv4, to be segmented
	USO6                         // UDP over IPv6
)

// Has tells whether all of o are in the set.
func (s Offload) Has(o Offload) bool { return s&o == o }

// MAC is an Ethernet address.
type MAC [6]byte

// HeaderSize is the length of struct virtio_net_hdr_v1, which is before each
// frame (virtio 1.2, 5.1.6). Its num_buffers is of no meaning to a backend.
const HeaderSize = 12

// MaxFrame is the largest frame with its header: 64 KiB of IP less one, an
// Ethernet header and a VLAN tag.
const MaxFrame = HeaderSize + 18 + 65535

// Settings are what a driver asked of the network.
type Settings struct {
	Pairs  int     // queues in use, from the first; the others carry nothing
	Accept Offload // work that frames to the guest may leave to it
	Filter Filter
}

// Filter says which frames the guest wants. A backend may give it more.
type Filter struct {
	All          bool // no filter, and the rest is meaningless
	AllMulticast bool
	Unicast      []MAC // its own address among them
	Multicast    []MAC
}

// Backend is the network that a device is plugged into.
type Backend interface {
	// Queues are descriptors in non-blocking mode, one per queue pair, valid
	// until after the device's last Reset. A read takes one frame, a write
	// gives one, both with a header of HeaderSize bytes before them. EAGAIN
	// is no frame, or no room. Another error of a write is a frame that is
	// dropped; of a read, the end of the network.
	Queues() []int
	// Offloads is the work that the guest may leave to the network, and that
	// Apply can accept for the other direction.
	Offloads() Offload
	// Apply makes the settings take effect. On an error the driver is told
	// that its command failed, or the device does not start.
	Apply(Settings) error
}
