package net

import (
	"testing"

	"splitvm/vmm/virtio"
)

// FuzzCommand obeys anything and checks that what the backend is asked for
// could be done, and that nothing is remembered of a refused command.
func FuzzCommand(f *testing.F) {
	for _, p := range [][]byte{
		{0, 0, 1}, {0, 1, 0}, {1, 0, 1, 0, 0, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0}, {1, 1, 2, 2, 2, 2, 2, 2}, {4, 0, 1, 0}, {5, 0, 0x82, 0, 0, 0, 0, 0, 0, 0}, {},
	} {
		f.Add(p, false)
	}
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0x2a, 0, 0, 0, 0}, true)
	c := newCable(f, 2)
	d := newDevice(f, c)
	f.Fuzz(func(t *testing.T, p []byte, cut bool) {
		r := &running{dev: d, driver: newDriver(d.MAC())}
		r.Features, r.Queues = d.Describe().Features, make([]*virtio.Queue, 5)
		r.want.Accept = accepted(r.Features)
		if err := r.usePairs(1); err != nil {
			t.Fatal(err)
		}
		defer r.stopPairs(0)
		<-c.applied
		err := r.obey(p, cut)
		if (err == nil) != (len(c.applied) == 1) {
			t.Fatalf("%v, with %d settings applied", err, len(c.applied))
		}
		if err != nil {
			return
		}
		s := <-c.applied
		if s.Pairs < 1 || s.Pairs > 2 || s.Pairs != len(r.pairs) || !c.offloads.Has(s.Accept) {
			t.Fatalf("%+v", s)
		}
		if n := len(s.Filter.Unicast) + len(s.Filter.Multicast); n > 1+len(p)/6 {
			t.Fatalf("%d addresses out of %d bytes", n, len(p))
		}
	})
}
