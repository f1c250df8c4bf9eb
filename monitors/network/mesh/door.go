package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"splitvm/monitors/network/mesh/wire"
)

// helloTime is what a host has to say who it is.
const helloTime = 10 * time.Second

// acceptPause is before the next try after an error of accept(2), such as no more descriptors.
const acceptPause = 100 * time.Millisecond

// accept takes connections until the listener is closed.
func (m *Mesh) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.log.Warn("network: accept another host", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		m.ended.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(m.ctx, func() { c.Close() })
			defer stop()
			if err := m.receive(c); err != nil && m.ctx.Err() == nil {
				m.log.Warn("network: connection of another host", "from", c.RemoteAddr(), "err", err)
			}
		})
	}
}

// receive takes one host's frames until it ends; nil if it did so between two.
func (m *Mesh) receive(c net.Conn) error {
	c.SetReadDeadline(time.Now().Add(helloTime))
	var b [wire.HelloSize]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return fmt.Errorf("no hello: %w", err)
	}
	h, err := wire.DecodeHello(b[:])
	if err != nil {
		return err
	}
	c.SetReadDeadline(time.Time{})
	return wire.Scan(c, func(from uint64, frame []byte) error { return m.deliver(h, from, frame) })
}

// errStranger is of a host of another rack, whose address somebody has now.
var errStranger = errors.New("it is of another rack")

// deliver gives a frame to the ports that it is for. Only a connection that is wrong
// altogether is an error: tables change at their own time on each host.
func (m *Mesh) deliver(h wire.Hello, from uint64, frame []byte) error {
	d := m.directory.Load()
	if h.Rack != d.rack {
		if d.rack == 0 {
			m.refused.Add(1)
			return nil // we know nothing yet
		}
		return errStranger
	}
	p := d.byVNode[from]
	if p == nil || p.Host != h.Host || p.Host == d.self {
		m.refused.Add(1)
		return nil
	}
	n, ok := (*m.networks.Load())[p.Network]
	if !ok {
		m.refused.Add(1)
		return nil
	}
	if err := n.sw.Receive(frame, p.Addr); err != nil {
		if m.refused.Add(1) == 1 {
			m.log.Warn("network: a frame of another host is refused", "from", from, "err", err)
		}
		return nil
	}
	m.received.Add(1)
	return nil
}
