package net

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/vmm/virtio"
)

// Feature bits (virtio 1.2, 5.1.3).
const (
	featureCsum          virtio.Features = 1 << 0
	featureGuestCsum     virtio.Features = 1 << 1
	featureGuestOffloads virtio.Features = 1 << 2
	featureMTU           virtio.Features = 1 << 3
	featureMAC           virtio.Features = 1 << 5
	featureMergeable     virtio.Features = 1 << 15
	featureStatus        virtio.Features = 1 << 16
	featureControl       virtio.Features = 1 << 17
	featureControlRx     virtio.Features = 1 << 18
	featureMultiqueue    virtio.Features = 1 << 22
	featureControlMAC    virtio.Features = 1 << 23
)

// offloadBits are the features of each offload: guest is "the driver takes
// frames like that", host is "the device does".
var offloadBits = []struct {
	offload     Offload
	guest, host virtio.Features
}{
	{Checksum, featureGuestCsum, featureCsum},
	{TSO4, 1 << 7, 1 << 11},
	{TSO6, 1 << 8, 1 << 12},
	{ECN, 1 << 9, 1 << 13},
	{UFO, 1 << 10, 1 << 14},
	{USO4, 1 << 54, 1 << 56},
	{USO6, 1 << 55, 1 << 56},
}

const (
	queueEntries = 256
	ctrlEntries  = 64
	maxPairs     = 64 // as many as vCPUs

	// holdTime is how long a frame waits for a driver to supply buffers.
	holdTime = 100 * time.Millisecond

	configSize   = 12 // mac, status, max_virtqueue_pairs, mtu
	statusLinkUp = 1 << 0
	minMTU       = 68 // IPv4's; virtio 1.2, 5.1.4.1
)

// Config is what a network device is made of.
type Config struct {
	Backend Backend
	MAC     MAC          // zero: a random one
	MTU     uint16       // that the driver is told; 0: nothing
	Log     *slog.Logger // nil: slog.Default()
}

// Device is a network device.
type Device struct {
	backend Backend
	queues  []int // the backend's; immutable
	desc    virtio.Description
	mtu     uint16
	hold    time.Duration
	log     *slog.Logger
	stats   counters
	down    atomic.Bool // the link

	mu  sync.Mutex
	mac MAC      // as configured; guarded by mu
	run *running // from Activate to Reset; guarded by mu
}

var _ virtio.Device = (*Device)(nil)

// Stats are counts since New. A frame dropped is one that did not reach the
// other side: the link was down, the network refused it, or the guest's
// buffers could never hold it.
type Stats struct {
	RxFrames, RxBytes, RxDropped uint64 // to the guest; bytes without headers
	TxFrames, TxBytes, TxDropped uint64
}

type counters struct {
	rxFrames, rxBytes, rxDropped atomic.Uint64
	txFrames, txBytes, txDropped atomic.Uint64
}

// New makes a device with as many queue pairs as the backend has.
func New(cfg Config) (*Device, error) {
	d := &Device{backend: cfg.Backend, queues: cfg.Backend.Queues(), mac: cfg.MAC, mtu: cfg.MTU, hold: holdTime, log: cfg.Log}
	if d.log == nil {
		d.log = slog.Default()
	}
	if n := len(d.queues); n < 1 || n > maxPairs {
		return nil, fmt.Errorf("make network device: %d queues, want 1 to %d", n, maxPairs)
	}
	if d.mtu != 0 && d.mtu < minMTU {
		return nil, fmt.Errorf("make network device: MTU %d is less than %d", d.mtu, minMTU)
	}
	if d.mac == (MAC{}) {
		rand.Read(d.mac[:])
		d.mac[0] = d.mac[0]&^1 | 2 // one station's, locally administered
	}
	if d.mac[0]&1 != 0 {
		return nil, fmt.Errorf("make network device: %x is a multicast address; the first byte must be even", d.mac)
	}
	d.desc = d.describe()
	return d, nil
}

func (d *Device) describe() virtio.Description {
	desc := virtio.Description{ID: virtio.IDNet, ConfigSize: configSize, Features: featureMAC | featureStatus | featureMergeable |
		featureControl | featureControlRx | featureControlMAC}
	if d.mtu != 0 {
		desc.Features |= featureMTU
	}
	if len(d.queues) > 1 {
		desc.Features |= featureMultiqueue
	}
	offloads := d.backend.Offloads()
	for _, b := range offloadBits {
		if offloads.Has(b.offload) {
			desc.Features |= b.guest | b.host
		}
	}
	if !offloads.Has(USO4 | USO6) {
		desc.Features &^= 1 << 56 // one bit for both
	}
	if offloads.Has(Checksum) {
		desc.Features |= featureGuestOffloads
	}
	for range d.queues {
		desc.Queues = append(desc.Queues, queueEntries, queueEntries)
	}
	desc.Queues = append(desc.Queues, ctrlEntries)
	return desc
}

// Describe says what the device is. Queues: receive and transmit of each
// pair, then control; control comes after the first pair for a driver that
// does not know of more.
func (d *Device) Describe() virtio.Description { return d.desc }

// MAC is the address that the driver finds.
func (d *Device) MAC() MAC {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mac
}

// Stats returns the counts so far.
func (d *Device) Stats() Stats {
	c := &d.stats
	return Stats{
		RxFrames: c.rxFrames.Load(), RxBytes: c.rxBytes.Load(), RxDropped: c.rxDropped.Load(),
		TxFrames: c.txFrames.Load(), TxBytes: c.txBytes.Load(), TxDropped: c.txDropped.Load(),
	}
}

// SetLink plugs the cable in or pulls it. Without it all frames are dropped.
func (d *Device) SetLink(up bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down.Swap(!up) == up && d.run != nil {
		d.run.ConfigChanged()
	}
}

// ReadConfig gives address, link, number of queue pairs and MTU.
func (d *Device) ReadConfig(p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(p, d.mac[:])
	var status uint16
	if !d.down.Load() {
		status = statusLinkUp
	}
	binary.LittleEndian.PutUint16(p[6:], status)
	binary.LittleEndian.PutUint16(p[8:], uint16(len(d.queues)))
	binary.LittleEndian.PutUint16(p[10:], d.mtu)
}

// WriteConfig does nothing: a driver sets its address by a command.
func (d *Device) WriteConfig(int, []byte) {}
