// Package pci is the modern virtio transport over PCI (virtio 1.2, 4.1): it
// shows a virtio.Device to a guest as a PCI function with vendor capabilities,
// negotiates features, sets queues up, and starts and stops the device.
//
// There is no legacy interface and no INTx: a driver uses MSI-X or polls.
//
// Registers are served on vCPU threads under Transport.mu and never wait for
// the device: Activate doesn't block, and a reset of a running device goes on
// in a goroutine of its own while the driver reads a status that is not yet 0
// (4.1.4.3.2). Interrupts, ConfigChanged and Fail take no Transport lock.
//
// Lock order: pci.Host's lock, Transport.mu, the device's own locks. A device
// may call what its Activation gave it with any of its locks held.
package pci

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"splitvm/vmm/memory"
	"splitvm/vmm/pci"
	"splitvm/vmm/virtio"
)

// Config is what a transport needs of the machine.
type Config struct {
	Memory   *memory.Memory
	Messages pci.Messages
	Packed   bool         // offer packed rings
	Log      *slog.Logger // nil: slog.Default()
}

// Device status bits (virtio 1.2, 2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
	statusNeedsReset  = 64
	statusFailed      = 128
)

// phase is where the device is between Activate and Reset.
type phase int

const (
	idle     phase = iota // not activated
	active                // activated
	stopping              // Device.Reset is under way in stop's goroutine
)

// Transport joins one device to one PCI function.
type Transport struct {
	dev      virtio.Device
	desc     virtio.Description
	offered  virtio.Features
	mem      *memory.Memory
	log      *slog.Logger
	function *pci.Function
	msix     *pci.MSIX

	needsReset   atomic.Bool
	isr          atomic.Uint32
	configVector atomic.Uint32
	stopped      sync.WaitGroup // stop's goroutine

	mu            sync.Mutex // guards the rest
	phase         phase
	clearAfter    bool // stopping ends in clear: the driver asked for a reset
	master        bool // bus mastering is on
	status        uint8
	driver        virtio.Features // accepted by the driver
	featureSelect uint32          // of the offered features
	driverSelect  uint32          // of the accepted features
	queueSelect   uint16
	queues        []queue // its length is immutable
	config        []byte  // device configuration as last seen
	generation    uint8   // of config
}

// queue is the registers of one virtqueue.
type queue struct {
	max     uint16        // immutable
	kick    *virtio.Event // immutable
	vector  atomic.Uint32 // also read by interrupts, without the lock
	size    uint16
	enabled bool
	areas   [3]uint64 // descriptor, driver, device
}

// noVector is VIRTIO_MSI_NO_VECTOR.
const noVector = 0xffff

// New makes the PCI function of dev. The caller plugs it, and closes the
// transport after pci.Host.Close, with no vCPU running.
func New(dev virtio.Device, c Config) (*Transport, error) {
	desc := dev.Describe()
	t := &Transport{dev: dev, desc: desc, mem: c.Memory, log: c.Log}
	if t.log == nil {
		t.log = slog.Default()
	}
	t.log = t.log.With("device", name(desc.ID))
	t.offered = desc.Features&virtio.DeviceTypeBits | virtio.FeatureVersion1 | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc
	if c.Packed {
		t.offered |= virtio.FeatureRingPacked
	}
	t.config = make([]byte, desc.ConfigSize)
	dev.ReadConfig(t.config)
	if err := t.addQueues(); err != nil {
		t.Close()
		return nil, err
	}
	if err := t.addFunction(c.Messages); err != nil {
		t.Close()
		return nil, fmt.Errorf("make the PCI function of a virtio %s device: %w", name(desc.ID), err)
	}
	t.clear()
	return t, nil
}

// Function is what to plug into a pci.Host.
func (t *Transport) Function() *pci.Function { return t.function }

// Close stops the device and gives everything back.
func (t *Transport) Close() {
	t.mu.Lock()
	t.reset()
	t.mu.Unlock()
	t.stopped.Wait()
	if t.msix != nil {
		t.msix.Close()
	}
	for i := range t.queues {
		if k := t.queues[i].kick; k != nil {
			k.Close()
		}
	}
}

func (t *Transport) addQueues() error {
	if len(t.desc.Queues) > maxQueues {
		return fmt.Errorf("virtio %s device: %d queues, at most %d are possible", name(t.desc.ID), len(t.desc.Queues), maxQueues)
	}
	t.queues = make([]queue, len(t.desc.Queues))
	for i, max := range t.desc.Queues {
		kick, err := virtio.NewEvent()
		if err != nil {
			return fmt.Errorf("virtio %s device: queue %d: %w", name(t.desc.ID), i, err)
		}
		t.queues[i].max, t.queues[i].kick = max, kick
	}
	return nil
}

// clear sets all registers to what they are after a reset. Caller holds mu, or
// nobody else has t yet.
func (t *Transport) clear() {
	t.phase, t.clearAfter, t.status, t.driver = idle, false, 0, 0
	t.featureSelect, t.driverSelect, t.queueSelect = 0, 0, 0
	t.needsReset.Store(false)
	t.isr.Store(0)
	t.configVector.Store(noVector)
	for i := range t.queues {
		q := &t.queues[i]
		q.vector.Store(noVector)
		q.size, q.enabled, q.areas = q.max, false, [3]uint64{}
		if q.kick == nil { // New failed on the way
			continue
		}
		if err := q.kick.Clear(); err != nil {
			t.log.Error("reset a queue", "queue", i, "error", err)
		}
	}
}
