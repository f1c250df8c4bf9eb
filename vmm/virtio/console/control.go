package console

import (
	"encoding/binary"
	"sync"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// Control events (virtio 1.2, 5.3.6.2).
const (
	eventDeviceReady = 0 // driver: it can take ports
	eventPortAdd     = 1
	eventPortRemove  = 2
	eventPortReady   = 3 // driver: it has the port
	eventConsolePort = 4
	eventResize      = 5
	eventPortOpen    = 6 // both
	eventPortName    = 7
)

const messageSize = 8 // id uint32, event and value uint16; resize and name have more

// message is one control message.
type message struct {
	id           uint32
	event, value uint16
	rest         []byte
}

func (m message) encode() []byte {
	p := binary.LittleEndian.AppendUint32(nil, m.id)
	p = binary.LittleEndian.AppendUint16(p, m.event)
	p = binary.LittleEndian.AppendUint16(p, m.value)
	return append(p, m.rest...)
}

// decodeMessage is the fixed part, as drivers send it.
func decodeMessage(p [messageSize]byte) message {
	return message{
		id:    binary.LittleEndian.Uint32(p[0:]),
		event: binary.LittleEndian.Uint16(p[4:]),
		value: binary.LittleEndian.Uint16(p[6:]),
	}
}

func resizeMessage(id uint32, cols, rows uint16) message {
	rest := binary.LittleEndian.AppendUint16(nil, cols)
	return message{id: id, event: eventResize, rest: binary.LittleEndian.AppendUint16(rest, rows)}
}

// control is the conversation with one incarnation of a driver. What waits to
// be sent is bounded whatever the driver says: each port is announced once,
// described once, and has one size.
type control struct {
	run   *running
	ports []*port

	mu         sync.Mutex
	changed    sync.Cond
	announced  bool         // DEVICE_READY came; guarded by mu, as all below
	ready      map[int]bool // PORT_READY came
	cols, rows uint16
	out        []message
	halted     bool
}

// newControl is called with Device.mu held.
func newControl(r *running, ports []*port) *control {
	c := &control{run: r, ports: ports, ready: map[int]bool{}, cols: r.dev.cols, rows: r.dev.rows}
	c.changed.L = &c.mu
	return c
}

func (c *control) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halted = true
	c.changed.Broadcast()
}

// heard is a message from the driver. What makes no sense is ignored, as the
// specification has no answer to it: unknown events, ports that do not exist,
// a port opened before it was said to be ready.
func (c *control) heard(m message) {
	if m.event == eventDeviceReady {
		c.announce(m.value == 1)
		return
	}
	if uint64(m.id) >= uint64(len(c.ports)) {
		return
	}
	switch m.event {
	case eventPortReady:
		c.describe(int(m.id), m.value == 1)
	case eventPortOpen:
		if c.isReady(int(m.id)) {
			c.ports[m.id].open(m.value == 1)
		}
	}
}

func (c *control) announce(ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok || c.announced {
		return
	}
	c.announced = true
	for _, p := range c.ports {
		c.say(message{id: p.id, event: eventPortAdd})
	}
}

// describe says what a port is that the driver has made. The host's end is
// open until CloseInput.
func (c *control) describe(i int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok || !c.announced || c.ready[i] {
		return
	}
	c.ready[i] = true
	p := c.ports[i]
	if p.Console {
		c.say(message{id: p.id, event: eventConsolePort, value: 1})
		if c.cols != 0 || c.rows != 0 {
			c.say(resizeMessage(p.id, c.cols, c.rows))
		}
	}
	if p.Name != "" {
		c.say(message{id: p.id, event: eventPortName, value: 1, rest: []byte(p.Name)})
	}
	if !p.in.hasEnded() {
		c.say(message{id: p.id, event: eventPortOpen, value: 1})
	}
}

// hangUp says that the host's end of a port is closed, unless describe will
// leave out that it is open.
func (c *control) hangUp(p *port) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready[int(p.id)] {
		c.say(message{id: p.id, event: eventPortOpen})
	}
}

func (c *control) isReady(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready[i]
}

// resize replaces a size that waits to be sent.
func (c *control) resize(cols, rows uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cols, c.rows = cols, rows
	for i, p := range c.ports {
		if p.Console && c.ready[i] {
			c.sayResize(resizeMessage(p.id, cols, rows))
		}
	}
}

func (c *control) sayResize(m message) {
	for i, w := range c.out {
		if w.id == m.id && w.event == eventResize {
			c.out[i] = m
			return
		}
	}
	c.say(m)
}

func (c *control) say(m message) {
	c.out = append(c.out, m)
	c.changed.Broadcast()
}

// next waits for a message to send; false when halted.
func (c *control) next() (message, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) == 0 && !c.halted {
		c.changed.Wait()
	}
	if c.halted {
		return message{}, false
	}
	m := c.out[0]
	c.out = c.out[1:]
	return m, true
}

// listener serves the control transmit queue.
type listener struct {
	queue   *virtio.Queue
	control *control
	chain   virtq.Chain
}

func (l *listener) serve() error {
	defer l.queue.Notify()
	for {
		if got, err := l.queue.Pop(&l.chain); !got || err != nil {
			return err
		}
		if l.chain.ReadableLen() >= messageSize { // less is no message
			var p [messageSize]byte
			if err := l.chain.Load(0, p[:]); err != nil {
				return err
			}
			l.control.heard(decodeMessage(p))
		}
		l.queue.Push(&l.chain, 0)
	}
}

// announcer fills the control receive queue.
type announcer struct {
	sender
	control *control
}

func (a *announcer) run() error {
	for {
		m, ok := a.control.next()
		if !ok {
			return nil
		}
		if got, err := a.sender.next(); !got || err != nil {
			return err
		}
		p := m.encode()
		if err := a.chain.Store(0, p); err != nil {
			return err
		}
		a.queue.Push(&a.chain, uint32(len(p)))
		a.queue.Notify()
	}
}
