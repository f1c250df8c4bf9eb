package net

import (
	"bytes"
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// TestWritesNowhereElse keeps a copy of all the memory that the receive buffers
// lie in, with gaps between them, does to it what each frame should do, and
// compares: a device that writes a byte too many crashes guests.
func TestWritesNowhereElse(t *testing.T) {
	const size, gap, buffers = 1536, 512, 120
	for name, c := range map[string]struct {
		without virtio.Features
		supply  int
		largest int
	}{"in hand": {0, buffers, 60_000}, "read ahead": {0, 30, 40_000}, "one each": {featureMergeable, 30, size - HeaderSize}} {
		t.Run(name, func(t *testing.T) {
			cable := newCable(t, 1)
			g := newNIC(t, newDevice(t, cable), virtiotest.Options{EventIdx: true, Indirect: true}, c.without)
			w := &witness{g: g, base: g.Alloc((size + gap) * buffers), at: map[int]layout.GPA{}}
			w.want = make([]byte, (size+gap)*buffers)
			r := rand.New(rand.NewSource(7))
			r.Read(w.want)
			if err := g.Memory.WriteAt(w.want, w.base); err != nil {
				t.Fatal(err)
			}
			for i := range layout.GPA(buffers) {
				w.free = append(w.free, w.base+i*(size+gap)+gap/2)
			}
			for range 300 {
				for len(w.at) < c.supply {
					w.add(size)
				}
				p := frame(r, 14+r.Intn(c.largest-14))
				if _, err := unix.Write(cable.theirs[0], p); err != nil {
					t.Fatal(err)
				}
				w.take(p)
			}
			w.compare()
		})
	}
}

// witness has its own idea of the memory of the buffers.
type witness struct {
	g    *nic
	base layout.GPA
	want []byte
	free []layout.GPA
	at   map[int]layout.GPA
}

func (w *witness) add(size uint32) {
	w.g.t.Helper()
	id, ok := w.g.Queues[0].Add(nil, []virtq.Span{{GPA: w.free[0], Len: size}})
	if !ok {
		w.g.t.Fatal("the ring is full")
	}
	w.at[id], w.free = w.free[0], w.free[1:]
	w.g.Queues[0].Kick()
}

// take receives p, with as many buffers as it takes.
func (w *witness) take(p []byte) {
	w.g.t.Helper()
	for first := true; len(p) > 0; first = false {
		id, n := w.g.Queues[0].Wait()
		off := w.at[id] - w.base
		copy(w.want[off:], p[:n])
		if first {
			copy(w.want[off+HeaderSize-2:], w.buffersAt(w.at[id]))
		}
		w.free = append(w.free, w.at[id])
		delete(w.at, id)
		p = p[n:]
	}
	w.compare()
}

// buffersAt is num_buffers as the device has written it; that it is right, other
// tests check.
func (w *witness) buffersAt(at layout.GPA) []byte {
	w.g.t.Helper()
	var p [2]byte
	if err := w.g.Memory.ReadAt(p[:], at+HeaderSize-2); err != nil || p == [2]byte{} {
		w.g.t.Fatalf("a frame in %d buffers (%v)", p, err)
	}
	return p[:]
}

func (w *witness) compare() {
	w.g.t.Helper()
	got := make([]byte, len(w.want))
	if err := w.g.Memory.ReadAt(got, w.base); err != nil {
		w.g.t.Fatal(err)
	}
	if bytes.Equal(got, w.want) {
		return
	}
	for i := range got {
		if got[i] != w.want[i] {
			w.g.t.Fatalf("byte %d of the buffers is %#x, want %#x", i, got[i], w.want[i])
		}
	}
}
