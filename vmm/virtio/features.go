package virtio

// Features is a set of feature bits.
type Features uint64

// Bits of the transport and the rings (virtio 1.2, section 6). Bits 0 to 23
// and 50 to 127 belong to the device types.
const (
	FeatureIndirectDesc Features = 1 << 28 // descriptors may point to tables of descriptors
	FeatureEventIdx     Features = 1 << 29 // used_event and avail_event
	FeatureVersion1     Features = 1 << 32 // not a legacy driver
	FeatureRingPacked   Features = 1 << 34 // packed rings
)

// DeviceTypeBits are the bits that a device type may define.
const DeviceTypeBits Features = 1<<24 - 1 | 0x3fff<<50

// Has tells whether all the bits of f are in the set.
func (s Features) Has(f Features) bool { return s&f == f }
