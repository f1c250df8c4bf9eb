package virtq_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// eachRing runs a test for every form of ring.
func eachRing(t *testing.T, test func(t *testing.T, o virtiotest.Options)) {
	for bits := range 8 {
		o := virtiotest.Options{Size: 8, Packed: bits&1 != 0, EventIdx: bits&2 != 0, Indirect: bits&4 != 0}
		t.Run(fmt.Sprintf("packed=%t,event=%t,indirect=%t", o.Packed, o.EventIdx, o.Indirect), func(t *testing.T) { test(t, o) })
	}
}

func newPair(t testing.TB, o virtiotest.Options) (virtiotest.Ring, *virtq.Queue) {
	t.Helper()
	m := virtiotest.RAM(t, 1<<20)
	driver, c := virtiotest.NewRing(t, m, 0x1000, o)
	q, err := virtq.New(m, c)
	if err != nil {
		t.Fatal(err)
	}
	return driver, q
}

func TestRoundTrip(t *testing.T) {
	eachRing(t, func(t *testing.T, o virtiotest.Options) {
		driver, q := newPair(t, o)
		var c virtq.Chain
		for i := range 50 { // many times around the ring
			out := []virtq.Span{{GPA: layout.GPA(0x1000 * i), Len: 16}, {GPA: 0x80000, Len: uint32(i + 1)}}
			in := []virtq.Span{{GPA: 0x90000, Len: 4096}}
			if i%3 == 0 {
				out = nil
			}
			id, ok := driver.Add(out, in)
			if !ok {
				t.Fatalf("round %d: ring is full", i)
			}
			if ok, err := q.Pop(&c); !ok || err != nil {
				t.Fatalf("round %d: Pop() = %t, %v", i, ok, err)
			}
			if diff := cmp.Diff(append(out, in...), append(append([]virtq.Span(nil), c.Readable...), c.Writable...)); diff != "" {
				t.Fatalf("round %d: chain (-sent +popped):\n%s", i, diff)
			}
			if len(c.Readable) != len(out) {
				t.Fatalf("round %d: %d readable spans, sent %d", i, len(c.Readable), len(out))
			}
			if ok, err := q.Pop(&virtq.Chain{}); ok || err != nil {
				t.Fatalf("round %d: Pop() of an empty ring = %t, %v", i, ok, err)
			}
			q.Push(&c, uint32(i))
			if got, written, ok := driver.Used(); !ok || got != id || written != uint32(i) {
				t.Fatalf("round %d: Used() = %d, %d, %t; want %d, %d", i, got, written, ok, id, i)
			}
		}
	})
}
