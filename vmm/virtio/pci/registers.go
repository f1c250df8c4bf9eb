package pci

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"splitvm/vmm/bus"
	"splitvm/vmm/virtio"
)

// Places in the BAR, each a page (virtio 1.2, 4.1.4). Queue i's notification
// is the word at notifyStart + i*notifyStep.
const (
	commonStart = 0x0000
	commonSize  = 56
	isrStart    = 0x1000
	configStart = 0x2000
	notifyStart = 0x3000
	notifyStep  = 4
	barSize     = 0x4000

	maxQueues = (barSize - notifyStart) / notifyStep
)

var _ bus.Device = (*Transport)(nil)

// Read is a guest's read of p's length at off of the BAR. What is no register,
// or not of the register's width, reads as zeroes.
func (t *Transport) Read(off uint64, p []byte) {
	clear(p)
	switch {
	case off < isrStart:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.readCommon(off, p)
	case off == isrStart:
		p[0] = uint8(t.isr.Swap(0))
	case off >= configStart && off < notifyStart:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.refreshConfig()
		if at := off - configStart; at < uint64(len(t.config)) {
			copy(p, t.config[at:])
		}
	}
}

// Write is a guest's write. Anything that is no register is ignored.
func (t *Transport) Write(off uint64, p []byte) {
	switch {
	case off >= notifyStart:
		if i := (off - notifyStart) / notifyStep; i < uint64(len(t.queues)) {
			t.queues[i].kick.Signal()
		}
	case off >= configStart:
		at := off - configStart
		if n := uint64(t.desc.ConfigSize); at < n && uint64(len(p)) <= n-at {
			t.dev.WriteConfig(int(at), p)
		}
	case off < commonSize:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.phase != stopping || off == regStatus {
			t.writeCommon(off, p)
		}
	}
}

// refreshConfig takes a new look at the device configuration and counts the
// generation on if it differs, so that a driver which reads a field in parts
// can tell (virtio 1.2, 2.5.1). Caller holds mu.
func (t *Transport) refreshConfig() {
	now := make([]byte, len(t.config))
	t.dev.ReadConfig(now)
	if !bytes.Equal(now, t.config) {
		t.config = now
		t.generation++
	}
}

// interrupt tells the driver, through MSI-X or the ISR status.
func (t *Transport) interrupt(vector *atomic.Uint32, isr uint32) {
	if v := vector.Load(); v != noVector {
		t.msix.Signal(uint16(v))
		return
	}
	t.isr.Or(isr)
}

// Registers of the common configuration (virtio 1.2, 4.1.4.3).
const (
	regDeviceFeatureSelect = 0
	regDeviceFeature       = 4
	regDriverFeatureSelect = 8
	regDriverFeature       = 12
	regConfigVector        = 16
	regNumQueues           = 18
	regStatus              = 20
	regGeneration          = 21
	regQueueSelect         = 22
	regQueueSize           = 24
	regQueueVector         = 26
	regQueueEnable         = 28
	regQueueNotifyOff      = 30
	regQueueAreas          = 32 // desc, driver and device, 8 bytes each
)

func (t *Transport) readCommon(off uint64, p []byte) {
	var reg [8]byte
	n := 4
	switch off {
	case regDeviceFeatureSelect:
		binary.LittleEndian.PutUint32(reg[:], t.featureSelect)
	case regDeviceFeature:
		binary.LittleEndian.PutUint32(reg[:], half(uint64(t.offered), t.featureSelect))
	case regDriverFeatureSelect:
		binary.LittleEndian.PutUint32(reg[:], t.driverSelect)
	case regDriverFeature:
		binary.LittleEndian.PutUint32(reg[:], half(uint64(t.driver), t.driverSelect))
	case regStatus:
		n, reg[0] = 1, t.readStatus()
	case regGeneration:
		t.refreshConfig()
		n, reg[0] = 1, t.generation
	case regConfigVector:
		n = 2
		binary.LittleEndian.PutUint16(reg[:], uint16(t.configVector.Load()))
	case regNumQueues:
		n = 2
		binary.LittleEndian.PutUint16(reg[:], uint16(len(t.queues)))
	case regQueueSelect:
		n = 2
		binary.LittleEndian.PutUint16(reg[:], t.queueSelect)
	default:
		n = t.readQueue(off, &reg)
	}
	if len(p) == n || n == 8 && len(p) == 4 {
		copy(p, reg[:])
	}
}

// readQueue puts the register of the selected queue at off into reg and
// returns its width; 0 if there is none.
func (t *Transport) readQueue(off uint64, reg *[8]byte) int {
	q := t.selected()
	if q == nil {
		return 0
	}
	put16 := func(v uint16) int {
		binary.LittleEndian.PutUint16(reg[:], v)
		return 2
	}
	switch {
	case off == regQueueSize:
		return put16(q.size)
	case off == regQueueVector:
		return put16(uint16(q.vector.Load()))
	case off == regQueueEnable && q.enabled:
		return put16(1)
	case off == regQueueNotifyOff:
		return put16(t.queueSelect)
	case off >= regQueueAreas && off < commonSize && off%4 == 0:
		binary.LittleEndian.PutUint64(reg[:], q.areas[(off-regQueueAreas)/8]>>(off%8*8))
		return 8
	}
	return 0
}

func (t *Transport) writeCommon(off uint64, p []byte) {
	var v uint64
	for i, b := range p {
		v |= uint64(b) << (8 * i)
	}
	switch {
	case off == regDeviceFeatureSelect && len(p) == 4:
		t.featureSelect = uint32(v)
	case off == regDriverFeatureSelect && len(p) == 4:
		t.driverSelect = uint32(v)
	case off == regDriverFeature && len(p) == 4:
		t.acceptFeatures(uint32(v))
	case off == regStatus && len(p) == 1:
		t.writeStatus(uint8(v))
	case off == regConfigVector && len(p) == 2:
		t.setVector(&t.configVector, v)
	case off == regQueueSelect && len(p) == 2:
		t.queueSelect = uint16(v)
	case off == regQueueVector && len(p) == 2 && t.selected() != nil:
		t.setVector(&t.selected().vector, v)
	case off >= regQueueSize:
		t.writeQueue(off, v, len(p))
	}
}

// acceptFeatures is a write of driver_feature, which counts until FEATURES_OK.
func (t *Transport) acceptFeatures(v uint32) {
	if t.status&statusFeaturesOK != 0 || t.driverSelect > 1 {
		return
	}
	shift := 32 * t.driverSelect
	t.driver = t.driver&^(0xffffffff<<shift) | virtio.Features(v)<<shift
}

// writeQueue sets the selected queue up, as long as it isn't enabled.
func (t *Transport) writeQueue(off, v uint64, width int) {
	q := t.selected()
	if q == nil || q.enabled || t.phase != idle {
		return
	}
	switch {
	case off == regQueueSize && width == 2 && v > 0 && v <= uint64(q.max):
		q.size = uint16(v)
	case off == regQueueEnable && width == 2 && v == 1:
		q.enabled = true
	case off >= regQueueAreas && off%8 == 0 && width == 8:
		q.areas[(off-regQueueAreas)/8] = v
	case off >= regQueueAreas && off%4 == 0 && width == 4:
		a, shift := &q.areas[(off-regQueueAreas)/8], off%8*8
		*a = *a&^(0xffffffff<<shift) | v<<shift
	}
}

// setVector maps an event to an MSI-X vector; one that doesn't exist becomes
// NO_VECTOR, which the driver reads back (virtio 1.2, 4.1.5.1.2).
func (t *Transport) setVector(to *atomic.Uint32, v uint64) {
	if v >= uint64(t.msix.Vectors()) {
		v = noVector
	}
	to.Store(uint32(v))
}

// selected is the queue that queue_select names, or nil.
func (t *Transport) selected() *queue {
	if int(t.queueSelect) < len(t.queues) {
		return &t.queues[t.queueSelect]
	}
	return nil
}

// half is 32 bits of the feature bits; there are none past the first 64.
func half(f uint64, sel uint32) uint32 {
	if sel > 1 {
		return 0
	}
	return uint32(f >> (32 * sel))
}
