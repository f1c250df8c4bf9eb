package console

import (
	"testing"

	"splitvm/vmm/virtio"
)

// FuzzControl plays a driver that says anything, and checks that what waits
// to be sent to it stays bounded and that no event comes twice in a row.
func FuzzControl(f *testing.F) {
	seed := func(ms ...message) {
		var p []byte
		for _, m := range ms {
			p = append(p, m.encode()...)
		}
		f.Add(p)
	}
	seed(message{event: eventDeviceReady, value: 1}, message{event: eventPortReady, value: 1}, message{id: 2, event: eventPortReady, value: 1},
		message{id: 2, event: eventPortOpen, value: 1}, message{id: 2, event: eventPortOpen})
	seed(message{event: eventDeviceReady}, message{id: 3, event: eventPortReady, value: 1}, message{id: 1 << 31, event: eventPortOpen, value: 1})
	seed(message{event: eventPortReady, value: 1}, message{event: 99, value: 0xffff})
	f.Fuzz(func(t *testing.T, p []byte) {
		last := map[int]bool{}
		var ports []Port
		for i := range 3 {
			ports = append(ports, Port{Name: "p", Console: i == 0, Opened: func(open bool) {
				if last[i] == open {
					t.Errorf("port %d: open %v twice", i, open)
				}
				last[i] = open
			}})
		}
		d := newDevice(t, Config{Ports: ports, Cols: 1, Rows: 1})
		defer d.Close()
		c := newControl(&running{Activation: virtio.Activation{ConfigChanged: func() {}}, dev: d}, d.ports)
		for ; len(p) >= messageSize; p = p[messageSize:] {
			m := decodeMessage([messageSize]byte(p))
			c.heard(m)
			c.resize(m.value, m.event)
			if len(c.out) > 3*5 {
				t.Fatalf("%d messages wait for a driver of 3 ports", len(c.out))
			}
		}
		for range len(c.out) {
			if m, ok := c.next(); !ok || m.id > 2 {
				t.Fatalf("message %+v, %v", m, ok)
			}
		}
	})
}
