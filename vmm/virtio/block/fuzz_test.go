package block_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// FuzzRequest sends chains of any shape and header. Each is answered with a
// status, or the device asks for a reset; and of the guest's memory only what
// the chain said may change.
func FuzzRequest(f *testing.F) {
	f.Add(request(typeIn, 0), []byte{1, 16, 2, 8, 255, 1})
	f.Add(request(typeOut, 3, make([]byte, 512)...), []byte{1, 16, 1, 8, 255, 1})
	f.Add(request(typeDiscard, 0, segment(0, 1, 0)...), []byte{1, 32, 255, 1})
	f.Add(request(typeGetID, 0), []byte{1, 16, 0, 20, 0, 1})
	f.Fuzz(func(t *testing.T, out []byte, shape []byte) {
		backend := newRemote(t, 64<<10)
		backend.late = 1 // no time for sleep
		dev := newDevice(t, block.Config{Backend: backend, QueueSize: 16})
		m := virtiotest.StartIn(t, virtiotest.RAM(t, ramSize), dev, virtiotest.Options{Indirect: true}, 0)
		place := m.Alloc(16 << 10)
		if err := m.Memory.WriteAt(out[:min(len(out), 8<<10)], place); err != nil {
			t.Fatal(err)
		}
		readable, writable := spans(shape, place)
		canary := place + 16<<10 - 8
		if err := m.Memory.Store64(canary, magic); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.Queues[0].Add(readable, writable); !ok {
			return
		}
		m.Queues[0].Kick()
		answered(t, m, readable, writable)
		if v, err := m.Memory.Load64(canary); v != magic || err != nil {
			t.Errorf("memory that is in no chain is %#x now", v)
		}
	})
}

const (
	ramSize = 1 << 20
	magic   = 0x0123456789abcdef
)

// spans makes buffers of pairs of bytes: a place and a length. Readable ones
// come first, packed from place on; a place from 192 on is outside RAM.
func spans(shape []byte, place layout.GPA) (readable, writable []virtq.Span) {
	var off layout.GPA
	for len(shape) >= 2 && len(readable)+len(writable) < 100 {
		where, n := shape[0], uint32(shape[1])
		shape = shape[2:]
		if where%2 == 0 {
			n *= 16
		}
		s := virtq.Span{GPA: place + off, Len: n}
		if where >= 192 && where < 254 {
			s.GPA = layout.GPA(binary.LittleEndian.Uint64([]byte{where, where, 15, 0, 0, where, where, 255}))
		}
		if where%4 < 2 && len(writable) == 0 {
			readable = append(readable, s)
			off = (off + layout.GPA(n)) % 4096
		} else {
			s.GPA += 8 << 10
			writable = append(writable, s)
		}
	}
	return readable, writable
}

func answered(t *testing.T, m *virtiotest.Machine, readable, writable []virtq.Span) {
	t.Helper()
	for deadline := time.Now().Add(virtiotest.Patience); time.Now().Before(deadline); runtime.Gosched() {
		if _, written, ok := m.Queues[0].Used(); ok {
			var size uint32
			for _, s := range writable {
				size += s.Len
			}
			if written != size {
				t.Errorf("%d bytes written, chain has %d", written, size)
			}
			return
		}
		select {
		case <-m.Failed:
			return
		default:
		}
	}
	t.Fatalf("no answer and no failure for %v, %v", readable, writable)
}
