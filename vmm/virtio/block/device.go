package block

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"splitvm/vmm/virtio"
)

// Device is one disk. It implements virtio.Device.
type Device struct {
	Config
	info      Info
	writeback atomic.Bool // the configuration's cache mode, which the driver may set

	read, written atomic.Uint64 // bytes, as in Stats

	queues []*queue // of the activation under way
}

// Stats are counts since New, of requests that the backend did as asked.
type Stats struct {
	Read, Written uint64 // bytes of reads and writes, from the guest's view
}

// Stats returns the counts so far.
func (d *Device) Stats() Stats { return Stats{Read: d.read.Load(), Written: d.written.Load()} }

// count notes a request that was done.
func (d *Device) count(r *Request) {
	switch r.Op {
	case OpRead:
		d.read.Add(r.Length)
	case OpWrite:
		d.written.Add(r.Length)
	}
}

// Feature bits (virtio 1.2, 5.2.3).
const (
	featureSizeMax     virtio.Features = 1 << 1
	featureSegMax      virtio.Features = 1 << 2
	featureRO          virtio.Features = 1 << 5
	featureBlkSize     virtio.Features = 1 << 6
	featureFlush       virtio.Features = 1 << 9
	featureTopology    virtio.Features = 1 << 10
	featureConfigWCE   virtio.Features = 1 << 11
	featureMQ          virtio.Features = 1 << 12
	featureDiscard     virtio.Features = 1 << 13
	featureWriteZeroes virtio.Features = 1 << 14
)

const (
	configSize      = 60
	configWriteback = 32

	// maxSegment times the segments of a queue stays below what one system
	// call moves (2 GiB less a page).
	maxSegment = 4 << 20
	// maxRange bounds discards and write zeroes, so that one of them doesn't
	// hold up a guest for long.
	maxRange = 1 << 30
)

// Describe implements virtio.Device.
func (d *Device) Describe() virtio.Description {
	f := featureSizeMax | featureSegMax | featureBlkSize | featureTopology | featureMQ | featureFlush
	if d.info.ReadOnly {
		f |= featureRO
	} else {
		f |= featureConfigWCE
		if d.info.Discard {
			f |= featureDiscard
		}
		if d.info.WriteZeroes {
			f |= featureWriteZeroes
		}
	}
	sizes := make([]uint16, d.Queues)
	for i := range sizes {
		sizes[i] = d.QueueSize
	}
	return virtio.Description{ID: virtio.IDBlock, Features: f, Queues: sizes, ConfigSize: configSize}
}

// ReadConfig implements virtio.Device (struct virtio_blk_config, 5.2.4).
func (d *Device) ReadConfig(p []byte) {
	clear(p)
	le := binary.LittleEndian
	block := max(d.info.BlockSize, SectorSize)
	physical := max(d.info.PhysicalBlock, block)
	le.PutUint64(p[0:], d.info.Size/SectorSize)
	le.PutUint32(p[8:], maxSegment)
	le.PutUint32(p[12:], uint32(d.QueueSize)-2)
	le.PutUint32(p[20:], block)
	p[24] = uint8(bits.TrailingZeros32(physical / block))
	le.PutUint16(p[26:], uint16(physical/block)) // suggested minimum I/O, in blocks
	if d.writeback.Load() {
		p[configWriteback] = 1
	}
	le.PutUint16(p[34:], uint16(d.Queues))
	le.PutUint32(p[36:], maxRange/SectorSize)
	le.PutUint32(p[40:], 1) // discard segments
	le.PutUint32(p[44:], physical/SectorSize)
	le.PutUint32(p[48:], maxRange/SectorSize)
	le.PutUint32(p[52:], 1) // write zeroes segments
	p[56] = 1               // write zeroes may unmap
}

// WriteConfig implements virtio.Device: the driver may set the cache mode.
func (d *Device) WriteConfig(off int, p []byte) {
	if off == configWriteback && len(p) == 1 && !d.info.ReadOnly {
		d.writeback.Store(p[0] != 0)
	}
}

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	for _, vq := range a.Queues {
		if vq != nil {
			d.queues = append(d.queues, startQueue(d, vq, a))
		}
	}
	return nil
}

// Reset implements virtio.Device. It waits for the backend's answers.
func (d *Device) Reset() {
	for _, q := range d.queues {
		q.stop()
	}
	d.queues = nil
	d.writeback.Store(true)
}

// writethrough tells whether a write must be durable before it is answered: so
// it is without the negotiated means to flush (virtio 1.2, 5.2.6.2).
func (d *Device) writethrough(negotiated virtio.Features) bool {
	if negotiated.Has(featureConfigWCE) {
		return !d.writeback.Load()
	}
	return !negotiated.Has(featureFlush)
}
