package memory_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/remote/wire"
)

// input is one operation on one line. Operations on many lines are recorded as
// many operations at the same time.
type input struct {
	op      wire.Op
	line    remote.Line
	version uint64 // write
}

// lineModel is a register; its value is the version last written, 0 when zero.
var lineModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[remote.Line][]porcupine.Operation{}
		for _, o := range history {
			l := o.Input.(input).line
			by[l] = append(by[l], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return uint64(0) },
	Step: func(state, in, out any) (bool, any) {
		switch i := in.(input); i.op {
		case wire.Write:
			return true, i.version
		case wire.Discard:
			return true, uint64(0)
		default:
			return out == state, state
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %v", in, out) },
}

// recorder collects a history.
type recorder struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func (r *recorder) now() int64 { return time.Since(r.start).Nanoseconds() }

func (r *recorder) add(ops ...porcupine.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, ops...)
}

func (r *recorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

// check fails the test if the history is not linearizable, line by line.
func (r *recorder) check(t *testing.T) {
	t.Helper()
	switch porcupine.CheckOperationsTimeout(lineModel, r.ops, 5*time.Minute) {
	case porcupine.Illegal:
		t.Errorf("history of %d operations is not linearizable", len(r.ops))
	case porcupine.Unknown:
		t.Errorf("history of %d operations could not be checked in five minutes", len(r.ops))
	}
}

const (
	linearLines = 12
	tornLine    = math.MaxUint64 // a version that nobody writes
)

// worker does operations on random runs of lines until stop.
type worker struct {
	id       int
	store    remote.LineStore
	rec      *recorder
	versions *atomic.Uint64
	rng      *rand.Rand
	writers  int // it changes lines of its own only, each writers-th; 1: all
	failed   int // operations of unknown outcome
}

func (w *worker) run(t *testing.T, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			w.step(t)
		}
	}
}

// pick returns the lines of an operation, in ascending order.
func (w *worker) pick(op wire.Op) (runs []remote.Run, lines []remote.Line) {
	first, step := w.rng.IntN(linearLines), 1
	if op != wire.Read && w.writers > 1 {
		step = w.writers
		first = w.rng.IntN(linearLines/step)*step + w.id
	}
	for range 1 + w.rng.IntN(6) {
		if first < linearLines {
			runs = append(runs, remote.Run{First: remote.Line(first), Count: 1})
			lines = append(lines, remote.Line(first))
		}
		first += step
	}
	if step == 1 {
		runs = []remote.Run{{First: lines[0], Count: uint32(len(lines))}}
	}
	return runs, lines
}

func (w *worker) step(t *testing.T) {
	op := []wire.Op{wire.Read, wire.Read, wire.Write, wire.Write, wire.Discard}[w.rng.IntN(5)]
	runs, lines := w.pick(op)
	mem := make([]byte, len(lines)*remote.LineSize)
	if op == wire.Write {
		for i, l := range lines {
			stamp(mem[i*remote.LineSize:], l, w.versions.Add(1))
		}
	}
	call := w.rec.now()
	var zero remote.LineSet
	var err error
	switch op {
	case wire.Read:
		zero, err = w.store.ReadLines(t.Context(), owned, runs, [][]byte{mem})
	case wire.Write:
		err = w.store.WriteLines(t.Context(), owned, runs, [][]byte{mem})
	case wire.Discard:
		err = w.store.Discard(t.Context(), owned, runs)
	}
	w.record(t, op, lines, mem, zero, call, err)
}

func (w *worker) record(t *testing.T, op wire.Op, lines []remote.Line, mem []byte, zero remote.LineSet, call int64, err error) {
	end := w.rec.now()
	if err != nil {
		if k := remote.KindOf(err); k != remote.Timeout {
			t.Errorf("%v: %v", op, err)
		}
		if w.failed++; op == wire.Read {
			return
		}
		end = math.MaxInt64 // it may take effect at any time from call on
	}
	for i, l := range lines {
		o := porcupine.Operation{ClientId: w.id, Input: input{op: op, line: l}, Call: call, Return: end}
		version := uint64(0)
		if !zero.Has(i) {
			version = stamped(mem[i*remote.LineSize:][:remote.LineSize], l)
		}
		switch op {
		case wire.Read:
			o.Output = version
		case wire.Write:
			o.Input = input{op: op, line: l, version: version}
		}
		w.rec.add(o)
	}
}

// stamp fills a line with its number and version.
func stamp(mem []byte, l remote.Line, version uint64) {
	mem = mem[:remote.LineSize]
	binary.LittleEndian.PutUint64(mem, version)
	binary.LittleEndian.PutUint64(mem[8:], uint64(l)+1)
	for n := 16; n < len(mem); n *= 2 {
		copy(mem[n:], mem[:n])
	}
}

// stamped returns the version of a line, tornLine if it is torn or another's.
func stamped(mem []byte, l remote.Line) uint64 {
	version := binary.LittleEndian.Uint64(mem)
	want := make([]byte, remote.LineSize)
	stamp(want, l, version)
	if string(want) != string(mem) {
		return tornLine
	}
	return version
}

// work runs a worker on each store for a while, and on a busy machine until there
// was enough, and checks the history.
func work(t *testing.T, stores []remote.LineStore, writers int, d time.Duration, enough func() bool) (failed int) {
	rec := &recorder{start: time.Now()}
	var versions atomic.Uint64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var ws []*worker
	for i, s := range stores {
		w := &worker{id: i, store: s, rec: rec, versions: &versions, rng: rand.New(rand.NewPCG(uint64(i), 99)), writers: writers}
		ws = append(ws, w)
		wg.Go(func() { w.run(t, stop) })
	}
	time.Sleep(d)
	for rec.len() < 500 || !enough() {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	for _, w := range ws {
		failed += w.failed
	}
	t.Logf("%d operations on lines, %d of unknown outcome", len(rec.ops), failed)
	rec.check(t)
	return failed
}

// Each of several clients, on all its connections, sees the lines of all as one
// register each.
func TestLinearizable(t *testing.T) {
	store := newStore(t, 1024)
	if err := store.Create(t.Context(), owned, linearLines); err != nil {
		t.Fatal(err)
	}
	tcp, _ := serve(t, store, "127.0.0.1:0")
	shm, _ := serve(t, store, "shm:"+filepath.Join(t.TempDir(), "s"))
	a, b := connect(t, client.Config{Address: tcp}), connect(t, client.Config{Address: shm, Checksums: true})
	work(t, []remote.LineStore{a, a, b.On(wire.Demand), b.On(wire.Bulk), store}, 1, 500*time.Millisecond, func() bool { return true })
	if b.ReadHere() == 0 {
		t.Error("no line was read without a message")
	}
}

// The same through a network that cuts connections in the middle of messages
// and delivers what was on the way later. Each line has one writer, as it has in
// life: a write that is sent again may take effect twice, before it is
// acknowledged.
func TestLinearizableThroughCuts(t *testing.T) {
	store := newStore(t, 1024)
	if err := store.Create(t.Context(), owned, linearLines); err != nil {
		t.Fatal(err)
	}
	tcp, _ := serve(t, store, "127.0.0.1:0")
	net := newBadNetwork(t, tcp)
	cfg := client.Config{Address: net.addr(), Timeout: 300 * time.Millisecond}
	sums := cfg
	sums.Checksums = true
	a, b := connect(t, cfg), connect(t, sums)
	net.misbehave(true)
	failed := work(t, []remote.LineStore{a.On(wire.Bulk), a.On(wire.Demand), b.On(wire.Demand), b.On(wire.Bulk)}, 4, 4*time.Second,
		func() bool { return net.cuts.Load() >= 10 && net.late.Load() >= 3 })
	t.Logf("%d connections cut, %d delivered late, %d operations of unknown outcome", net.cuts.Load(), net.late.Load(), failed)
}
