package console

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"splitvm/vmm/virtio"
)

// Feature bits (virtio 1.2, 5.3.3).
const (
	featureSize      virtio.Features = 1 << 0 // cols and rows are valid
	featureMultiport virtio.Features = 1 << 1
)

const (
	configSize   = 12 // cols, rows uint16; max_nr_ports, emerg_wr uint32
	dataEntries  = 128
	ctrlEntries  = 32
	maxPorts     = 16
	maxNameBytes = 64

	// settleTime is what a driver has from DRIVER_OK until it has a console
	// without control queues in working order. Linux throws away what comes
	// before, and misses a change of the window size.
	settleTime = 200 * time.Millisecond
)

// DefaultBuffer is the size of a port's output buffer in bytes.
const DefaultBuffer = 256 << 10

// Port is what a port is to the guest and where its bytes go.
type Port struct {
	Name    string // up to 64 bytes; Linux: /sys/class/virtio-ports/*/name
	Console bool   // a terminal (hvc) and not a plain stream

	// Output takes what the guest writes, from one goroutine of the port's. A
	// Write may block: that holds up this port, and Close. After its first
	// error the rest is thrown away. Nil: all is thrown away.
	Output io.Writer
	Buffer int // bytes that wait for Output; 0 is DefaultBuffer

	// Opened is told when the guest opens and closes the port, in order, on a
	// goroutine of the device's; it must not block. May be nil.
	Opened func(open bool)
}

// Config is what a console device is made of.
type Config struct {
	Ports      []Port // 1 to 16, by port number
	Cols, Rows uint16 // of the console ports; 0 if not known
}

// Device is a console device.
type Device struct {
	ports     []*port // immutable after New
	multiport bool    // immutable after New
	settle    time.Duration

	mu         sync.Mutex
	cols, rows uint16   // guarded by mu
	run        *running // from Activate to Reset; guarded by mu
}

var _ virtio.Device = (*Device)(nil)

// New makes the device and starts its ports' output.
func New(cfg Config) (*Device, error) {
	if n := len(cfg.Ports); n < 1 || n > maxPorts {
		return nil, fmt.Errorf("make console: %d ports, want 1 to %d", n, maxPorts)
	}
	for i, p := range cfg.Ports {
		if len(p.Name) > maxNameBytes || p.Buffer < 0 {
			return nil, fmt.Errorf("make console: port %d: name %q is longer than %d bytes, or a buffer of %d", i, p.Name, maxNameBytes, p.Buffer)
		}
	}
	d := &Device{cols: cfg.Cols, rows: cfg.Rows, settle: settleTime}
	d.multiport = len(cfg.Ports) > 1 || cfg.Ports[0].Name != "" || !cfg.Ports[0].Console
	for i, p := range cfg.Ports {
		d.ports = append(d.ports, newPort(uint32(i), p))
	}
	return d, nil
}

// Input is the guest's receiving end of a port. A Write returns when all is in
// the guest's buffers, however long that takes and through resets, or with an
// error that wraps os.ErrClosed. Concurrent writes wait for each other.
func (d *Device) Input(port int) io.Writer { return &d.ports[port].in }

// CloseInput is the end of what the host writes to a port: the guest's reader
// finds the end of the file after the last byte, and what the guest writes
// to the port from then on fails there. It waits for a Write under way. In
// the form without control queues the guest can't be told.
func (d *Device) CloseInput(port int) {
	p := d.ports[port]
	if !p.in.end() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != nil && d.run.control != nil {
		d.run.control.hangUp(p)
	}
}

// Resize gives the console ports a window size, in characters.
func (d *Device) Resize(cols, rows uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cols, d.rows = cols, rows
	if d.run != nil {
		d.run.resize(cols, rows)
	}
}

// Close stops the device, writes out what the guest has sent, and ends Input's
// writers. It waits for Outputs that block: whoever owns one must unblock it.
// It returns the Outputs' first errors.
func (d *Device) Close() error {
	d.Reset()
	var errs []error
	for _, p := range d.ports {
		p.in.close()
		if err := p.out.close(); err != nil {
			errs = append(errs, fmt.Errorf("console port %d output: %w", p.id, err))
		}
	}
	return errors.Join(errs...)
}

// Describe says what the device is. Queues: receive and transmit of port 0,
// the two of control, receive and transmit of each other port.
func (d *Device) Describe() virtio.Description {
	desc := virtio.Description{ID: virtio.IDConsole, Features: featureSize, ConfigSize: configSize, Queues: []uint16{dataEntries, dataEntries}}
	if !d.multiport {
		return desc
	}
	desc.Features |= featureMultiport
	desc.Queues = append(desc.Queues, ctrlEntries, ctrlEntries)
	for range d.ports[1:] {
		desc.Queues = append(desc.Queues, dataEntries, dataEntries)
	}
	return desc
}

// ReadConfig gives the window size and the number of ports.
func (d *Device) ReadConfig(p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	binary.LittleEndian.PutUint16(p[0:], d.cols)
	binary.LittleEndian.PutUint16(p[2:], d.rows)
	binary.LittleEndian.PutUint32(p[4:], uint32(len(d.ports)))
	binary.LittleEndian.PutUint32(p[8:], 0)
}

// WriteConfig does nothing: the emergency write is not offered.
func (d *Device) WriteConfig(int, []byte) {}
