package virtq_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// world is a driver and a device which both sleep whenever they have nothing
// to do and are woken by notifications alone.
type world struct {
	t      *rapid.T
	driver virtiotest.Ring
	q      *virtq.Queue

	deviceSleeps, driverSleeps bool
	kick, irq                  bool // notifications on their way

	sent     []sent         // added and not popped, oldest first
	popped   []*virtq.Chain // in flight within the device
	ids      []int          // ids of popped, by the same index
	expected map[int]uint32 // id to written, pushed and not taken
	serial   uint32
}

type sent struct {
	id    int
	spans []virtq.Span
	out   int // of spans, readable
}

// TestNothingIsLost drives random interleavings, with notifications
// suppressed at random, and then lets both sides run on notifications only:
// all chains must come back.
func TestNothingIsLost(t *testing.T) {
	m := virtiotest.RAM(t, 1<<20)
	rapid.Check(t, func(rt *rapid.T) {
		o := virtiotest.Options{
			Packed:   rapid.Bool().Draw(rt, "packed"),
			EventIdx: rapid.Bool().Draw(rt, "event index"),
			Indirect: rapid.Bool().Draw(rt, "indirect"),
			Size:     uint16(1 << rapid.IntRange(0, 4).Draw(rt, "log size")),
		}
		if o.Packed && rapid.Bool().Draw(rt, "odd size") {
			o.Size = uint16(rapid.IntRange(1, 19).Draw(rt, "size"))
		}
		driver, c := virtiotest.NewRing(t, m, 0x1000, o)
		q, err := virtq.New(m, c)
		if err != nil {
			rt.Fatal(err)
		}
		w := &world{t: rt, driver: driver, q: q, expected: map[int]uint32{}}
		rt.Repeat(map[string]func(*rapid.T){
			"":               func(*rapid.T) { w.checkInFlight() },
			"add":            func(*rapid.T) { w.add() },
			"kick":           func(*rapid.T) { w.sendKick() },
			"take":           func(*rapid.T) { w.take() },
			"driver sleeps":  func(*rapid.T) { w.driverSleep() },
			"driver ignores": func(*rapid.T) { w.driverIgnores() },
			"pop":            func(*rapid.T) { w.pop() },
			"push":           func(*rapid.T) { w.push() },
			"push some":      func(*rapid.T) { w.pushBatch() },
			"notify":         func(*rapid.T) { w.notify() },
			"device sleeps":  func(*rapid.T) { w.deviceSleep() },
			"device ignores": func(*rapid.T) { w.deviceIgnores() },
		})
		w.drain()
	})
}

// Actions of a side that sleeps do nothing unless its notification wakes it.

func (w *world) driverUp() bool {
	if w.driverSleeps && w.irq {
		w.driverSleeps, w.irq = false, false
	}
	return !w.driverSleeps
}

func (w *world) deviceUp() bool {
	if w.deviceSleeps && w.kick {
		w.deviceSleeps, w.kick = false, false
	}
	return !w.deviceSleeps
}

func (w *world) add() {
	if !w.driverUp() {
		return
	}
	var spans []virtq.Span
	n := rapid.IntRange(1, 4).Draw(w.t, "spans")
	for range n {
		w.serial++
		spans = append(spans, virtq.Span{GPA: layout.GPA(w.serial) << 4, Len: w.serial})
	}
	out := rapid.IntRange(0, n).Draw(w.t, "readable")
	if id, ok := w.driver.Add(spans[:out], spans[out:]); ok {
		w.sent = append(w.sent, sent{id, spans, out})
	}
}

func (w *world) sendKick() {
	if w.driverUp() && w.driver.NeedsKick() {
		w.kick = true
	}
}

func (w *world) take() bool {
	if !w.driverUp() {
		return false
	}
	id, written, ok := w.driver.Used()
	if !ok {
		return false
	}
	want, known := w.expected[id]
	if !known || written != want {
		w.t.Fatalf("chain %d came back with %d written; pushed with %d, %t", id, written, want, known)
	}
	delete(w.expected, id)
	return true
}

func (w *world) driverSleep() {
	w.sendKick()
	if w.driverUp() && !w.driver.WantInterrupts(true) {
		w.driverSleeps = true
	}
}

func (w *world) driverIgnores() {
	if w.driverUp() {
		w.driver.WantInterrupts(false)
	}
}

func (w *world) pop() bool {
	if !w.deviceUp() {
		return false
	}
	var c virtq.Chain
	ok, err := w.q.Pop(&c)
	if err != nil {
		w.t.Fatal(err)
	}
	if ok != (len(w.sent) > 0) {
		w.t.Fatalf("Pop() is %t with %d chains available", ok, len(w.sent))
	}
	if !ok {
		return false
	}
	want := w.sent[0]
	w.sent = w.sent[1:]
	if diff := cmp.Diff(want.spans, append(append([]virtq.Span(nil), c.Readable...), c.Writable...)); diff != "" || len(c.Readable) != want.out {
		w.t.Fatalf("chain with %d readable, want %d (-sent +popped):\n%s", len(c.Readable), want.out, diff)
	}
	w.popped, w.ids = append(w.popped, &c), append(w.ids, want.id)
	return true
}

// push gives any chain in flight back. It happens in a device that sleeps,
// too: completions come when they come.
func (w *world) push() bool {
	if len(w.popped) == 0 {
		return false
	}
	i := rapid.IntRange(0, len(w.popped)-1).Draw(w.t, "which")
	written := w.serial & 0xff
	w.q.Push(w.popped[i], written)
	w.expected[w.ids[i]] = written
	last := len(w.popped) - 1
	w.popped[i], w.ids[i] = w.popped[last], w.ids[last]
	w.popped, w.ids = w.popped[:last], w.ids[:last]
	return true
}

// pushBatch gives back several at once; the driver takes the first as soon as
// it sees any, so all must be there.
func (w *world) pushBatch() {
	n := rapid.IntRange(0, len(w.popped)).Draw(w.t, "how many")
	var written []uint32
	for i, id := range w.ids[:n] {
		written = append(written, uint32(i))
		w.expected[id] = uint32(i)
	}
	w.q.PushBatch(w.popped[:n], written)
	w.popped, w.ids = w.popped[n:], w.ids[n:]
}

func (w *world) notify() {
	if w.q.NeedsInterrupt() {
		w.irq = true
	}
}

func (w *world) deviceSleep() {
	if !w.deviceUp() {
		return
	}
	more, err := w.q.EnableKicks()
	if err != nil {
		w.t.Fatal(err)
	}
	w.deviceSleeps = !more
}

func (w *world) deviceIgnores() {
	if w.deviceUp() {
		w.q.DisableKicks()
	}
}

func (w *world) checkInFlight() {
	if got := w.q.InFlight(); got != len(w.popped) {
		w.t.Fatalf("InFlight() = %d with %d chains popped", got, len(w.popped))
	}
}

// drain has each side work until it would sleep, as long as any is awake.
func (w *world) drain() {
	for round := 0; round < 3 || w.kick || w.irq; round++ {
		w.sendKick()
		for w.pop() {
		}
		for w.push() {
		}
		w.notify()
		w.deviceSleep()
		for w.take() {
		}
		w.driverSleep()
	}
	if n := len(w.sent) + len(w.popped) + len(w.expected); n != 0 {
		w.t.Fatalf("both sides sleep with %s", fmt.Sprintf("%d chains not popped, %d not pushed, %d not taken", len(w.sent), len(w.popped), len(w.expected)))
	}
}
