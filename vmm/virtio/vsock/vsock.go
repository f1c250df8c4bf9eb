package vsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio"
)

const featureStream virtio.Features = 1 << 0

// Queues, by index.
const (
	queueRx = iota // to the guest
	queueTx
	queueEvent
)

const (
	dataEntries  = 256
	eventEntries = 8
	configSize   = 8 // guest_cid
	minCID       = 3 // 0 to 2 are reserved
	maxBuffer    = 64 << 20
)

// Defaults of Config.
const (
	DefaultMaxConns = 256
	DefaultBuffer   = 256 << 10
)

// Config is what a socket device is made of.
type Config struct {
	CID CID // the guest's, 3 or more, below 2^32
	// Path is the Unix socket for connections to the guest; <Path>_<port> is
	// for those from the guest. Empty: only Dial and Listen.
	Path     string
	MaxConns int          // connections at a time; 0 is DefaultMaxConns
	Buffer   int          // bytes of credit per connection; 0 is DefaultBuffer
	Log      *slog.Logger // nil: slog.Default()
}

// Device is a socket device.
type Device struct {
	cfg  Config
	log  *slog.Logger
	door int // listens at Path; -1 without

	mu        sync.Mutex
	listeners map[Port]*Listener // guarded by mu
	run       *running           // from Activate to Reset; guarded by mu
}

var _ virtio.Device = (*Device)(nil)

// New makes a device and listens at Path; connections wait until the guest
// has a driver. A socket at Path that nobody listens on any more is replaced.
func New(cfg Config) (*Device, error) {
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	switch {
	case cfg.CID < minCID || cfg.CID >= 1<<32-1:
		return nil, fmt.Errorf("make socket device: CID %d is not between %d and 2^32-2", cfg.CID, minCID)
	case cfg.MaxConns < 1 || cfg.Buffer < 4096 || cfg.Buffer > maxBuffer:
		return nil, fmt.Errorf("make socket device: %d connections with buffers of %d bytes; give at least 1, and 4 KiB to 64 MiB", cfg.MaxConns, cfg.Buffer)
	}
	d := &Device{cfg: cfg, log: cfg.Log, door: -1, listeners: map[Port]*Listener{}}
	if d.log == nil {
		d.log = slog.Default()
	}
	if cfg.Path != "" {
		door, err := listenAt(cfg.Path)
		if err != nil {
			return nil, fmt.Errorf("make socket device: listen at %s: %w", cfg.Path, err)
		}
		d.door = door
	}
	return d, nil
}

// Close ends all connections and listeners and removes Path.
func (d *Device) Close() error {
	d.Reset()
	d.mu.Lock()
	for _, l := range d.listeners {
		l.shut()
	}
	clear(d.listeners)
	d.mu.Unlock()
	if d.door < 0 {
		return nil
	}
	err := errors.Join(unix.Unlink(d.cfg.Path), unix.Close(d.door))
	d.door = -1
	if err != nil {
		return fmt.Errorf("close socket device: %w", err)
	}
	return nil
}

// Describe says what the device is: queues to the guest, from it, and events.
func (d *Device) Describe() virtio.Description {
	return virtio.Description{ID: virtio.IDVsock, Features: featureStream, ConfigSize: configSize,
		Queues: []uint16{dataEntries, dataEntries, eventEntries}}
}

// ReadConfig gives the guest's CID.
func (d *Device) ReadConfig(p []byte) { binary.LittleEndian.PutUint64(p, uint64(d.cfg.CID)) }

// WriteConfig does nothing.
func (d *Device) WriteConfig(int, []byte) {}

// Activate starts the muxer.
func (d *Device) Activate(a virtio.Activation) error {
	if a.Queues[queueRx] == nil || a.Queues[queueTx] == nil {
		return errors.New("activate socket device: the driver did not enable both data queues")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != nil {
		panic("vsock: activated twice")
	}
	r, err := start(d, a)
	if err != nil {
		return fmt.Errorf("activate socket device: %w", err)
	}
	d.run = r
	return nil
}

// Reset ends all connections.
func (d *Device) Reset() {
	d.mu.Lock()
	r := d.run
	d.run = nil
	d.mu.Unlock()
	if r != nil {
		r.stop()
	}
}

// listener returns who in this process listens on a port.
func (d *Device) listener(p Port) *Listener {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listeners[p]
}
