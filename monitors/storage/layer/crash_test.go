package layer

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
)

const (
	crashBlocks  = 520
	crashWriters = 3
)

// fill makes a block that says which value it is everywhere. Value 0 is zeroes.
func fill(b []byte, block, value uint64) {
	clear(b)
	if value == 0 {
		return
	}
	for i := 0; i < len(b); i += 16 {
		binary.LittleEndian.PutUint64(b[i:], value)
		binary.LittleEndian.PutUint64(b[i+8:], block+uint64(i))
	}
}

// valueOf returns the value that a block has, false if it is a mixture.
func valueOf(b []byte, block uint64) (uint64, bool) {
	value := binary.LittleEndian.Uint64(b)
	want := make([]byte, BlockSize)
	fill(want, block, value)
	return value, string(want) == string(b)
}

func emptyFiles(t *testing.T) [3][]byte {
	t.Helper()
	r := newRecording([3][]byte{make([]byte, crashBlocks*BlockSize), make([]byte, crashBlocks*BlockSize), make([]byte, mapSize(crashBlocks))})
	if err := initialize(r.files[2], 7, crashBlocks, 0); err != nil {
		t.Fatal(err)
	}
	return r.kill(len(r.events))
}

// work writes, zeroes and flushes from several goroutines, each of which has
// blocks of its own.
func work(t *testing.T, r *recording, l *Layer, seed, first uint64, steps int) {
	var wg sync.WaitGroup
	for w := range uint64(crashWriters) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, w))
			buf := make([]byte, 8*BlockSize)
			for i := range steps {
				if rng.IntN(6) == 0 {
					r.note(event{file: -1, kind: flushBegun, value: w})
					if _, err := l.Flush(); err != nil {
						t.Error(err)
					}
					r.note(event{file: -1, kind: flushEnded, value: w})
					continue
				}
				span := uint64(crashBlocks / crashWriters)
				hot := uint64(6 + 60*rng.IntN(2)) // some blocks are written often
				at := w*span + rng.Uint64N(hot)
				n := 1 + rng.Uint64N(3)
				value := (first + uint64(i) + 1) * 100
				if rng.IntN(8) == 0 {
					value = 0
				}
				for b := at; b < at+n; b++ {
					fill(buf[(b-at)*BlockSize:][:BlockSize], b, value)
					r.note(event{file: -1, kind: writeBegun, block: b, value: value})
				}
				err := error(nil)
				if value == 0 {
					err = l.Zero(at, n, rng.IntN(2) == 0)
				} else {
					err = l.Write(at, buf[:n*BlockSize])
				}
				if err != nil {
					t.Error(err)
				}
				for b := at; b < at+n; b++ {
					r.note(event{file: -1, kind: writeEnded, block: b, value: value})
				}
			}
		})
	}
	wg.Wait()
}

// version is a write of a block, by the events of its beginning and end.
type version struct {
	value      uint64
	begun, end int
}

// history returns, for each block, its writes in order.
func history(events []event) map[uint64][]version {
	h := map[uint64][]version{}
	for i, e := range events {
		switch e.kind {
		case writeBegun:
			h[e.block] = append(h[e.block], version{e.value, i, len(events)})
		case writeEnded:
			v := h[e.block]
			v[len(v)-1].end = i
		}
	}
	return h
}

// promised returns, for each event, how many of the first events had ended when
// the last flush began that has ended by then.
func promised(events []event) []int {
	p := make([]int, len(events)+1)
	begun := map[uint64]int{}
	for i, e := range events {
		p[i+1] = p[i]
		if e.kind == flushBegun {
			begun[e.value] = i
		}
		if e.kind == flushEnded {
			p[i+1] = max(p[i], begun[e.value])
		}
	}
	return p
}

// inspect opens what a crash left and checks every block: nothing older than
// the last flush, nothing mixed. all means that nothing answered may be missing.
func inspect(t *testing.T, files Files, h map[uint64][]version, k, sure int) *Layer {
	t.Helper()
	l, err := OpenFiles(files, 7, false)
	if err != nil {
		t.Fatalf("crash after event %d: %v", k, err)
	}
	buf := make([]byte, crashBlocks*BlockSize)
	if err := l.Read(0, buf, false, Zeroes); err != nil {
		t.Fatalf("crash after event %d: %v", k, err)
	}
	for b := range uint64(crashBlocks) {
		value, whole := valueOf(buf[b*BlockSize:][:BlockSize], b)
		if !whole || !allowed(h[b], value, k, sure) {
			t.Fatalf("crash after event %d (promised: %d): block %d has value %d (whole: %v) of %v", k, sure, b, value, whole, h[b])
		}
	}
	if report, err := l.Scrub(context.Background()); err != nil || len(report.Damaged) > 0 {
		t.Fatalf("crash after event %d: scrub: %v, damaged %v", k, err, report.Damaged)
	}
	return l
}

// allowed tells whether a block may have value: that of the newest write that
// ended before event sure, or of a later one that was begun before event k.
func allowed(versions []version, value uint64, k, sure int) bool {
	from := -1
	for i, v := range versions {
		if v.end < sure {
			from = i
		}
	}
	if from < 0 && value == 0 {
		return true
	}
	for _, v := range versions[max(from, 0):] {
		if v.value == value && v.begun < k {
			return true
		}
	}
	return false
}

// Power is cut after each single thing that was done to the files, with any
// subset of the sectors since the last syncs in place; and again while the
// layer recovers from that.
func TestPowerLoss(t *testing.T) {
	rounds, steps := 2, 16
	if os.Getenv("SPLITVM_SOAK") != "" {
		rounds, steps = 60, 120
	}
	for seed := range uint64(rounds) {
		r := newRecording(emptyFiles(t))
		l, err := OpenFiles(r.open(), 7, false)
		if err != nil {
			t.Fatal(err)
		}
		work(t, r, l, seed, 0, steps)
		h, p := history(r.events), promised(r.events)
		rng := rand.New(rand.NewPCG(seed, 99))
		for k := 1; k <= len(r.events); k++ {
			inspect(t, newRecording(r.cut(k, rng)).open(), h, k, p[k])
			if k%7 == 0 {
				again := newRecording(r.cut(k, rng))
				inspect(t, again.open(), h, k, p[k])
				inspect(t, newRecording(again.cut(1+rng.IntN(len(again.events)), rng)).open(), h, k, p[k])
			}
		}
	}
}

// A process that is killed has lost nothing that was answered.
func TestKill(t *testing.T) {
	r := newRecording(emptyFiles(t))
	l, err := OpenFiles(r.open(), 7, false)
	if err != nil {
		t.Fatal(err)
	}
	work(t, r, l, 5, 0, 25)
	h, p := history(r.events), promised(r.events)
	for k := 1; k <= len(r.events); k++ {
		inspectKilled(t, newRecording(r.kill(k)).open(), h, k, p[k])
	}
}

// inspectKilled is inspect for a kill: but for writes in place that were cut off,
// whose writer knows that it got no answer, all that was answered is there.
func inspectKilled(t *testing.T, files Files, h map[uint64][]version, k, sure int) {
	t.Helper()
	l := inspect(t, files, h, k, sure)
	buf := make([]byte, BlockSize)
	for b, versions := range h {
		cut := false
		for _, v := range versions {
			cut = cut || v.begun < k && v.end >= k
		}
		if cut {
			continue
		}
		if err := l.Read(b, buf, false, Zeroes); err != nil {
			t.Fatal(err)
		}
		if value, _ := valueOf(buf, b); !allowed(versions, value, k, k) {
			t.Fatalf("killed after event %d: block %d has value %d of %v", k, b, value, versions)
		}
	}
}

// A layer that has recovered goes on, and is cut again.
func TestPowerLossTwice(t *testing.T) {
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := newRecording(emptyFiles(t))
		l, err := OpenFiles(r.open(), 7, false)
		if err != nil {
			t.Fatal(err)
		}
		work(t, r, l, seed, 0, 20)
		next := newRecording(r.cut(len(r.events), rng))
		l, err = OpenFiles(next.open(), 7, false)
		if err != nil {
			t.Fatal(err)
		}
		now := make([]byte, crashBlocks*BlockSize)
		if err := l.Read(0, now, false, Zeroes); err != nil {
			t.Fatal(err)
		}
		for b := range uint64(crashBlocks) { // what is there now is promised
			value, _ := valueOf(now[b*BlockSize:][:BlockSize], b)
			next.note(event{file: -1, kind: writeBegun, block: b, value: value})
			next.note(event{file: -1, kind: writeEnded, block: b, value: value})
		}
		next.note(event{file: -1, kind: flushBegun, value: 99})
		next.note(event{file: -1, kind: flushEnded, value: 99})
		opened := len(next.events)
		work(t, next, l, seed, 1000, 20)
		h, p := history(next.events), promised(next.events)
		for k := opened; k <= len(next.events); k += 3 {
			inspect(t, newRecording(next.cut(k, rng)).open(), h, k, p[k])
		}
	}
}

// A write is torn, and after the recovery from that another one of the same block:
// what was flushed before both is there.
func TestTornTwice(t *testing.T) {
	files := emptyFiles(t)
	block := make([]byte, BlockSize)
	for value := uint64(1); value <= 4; value++ {
		r := newRecording(files)
		l, err := OpenFiles(r.open(), 7, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Read(3, block, false, Zeroes); err != nil {
			t.Fatal(err)
		}
		if is, whole := valueOf(block, 3); value > 1 && (is != 1 || !whole) {
			t.Fatalf("after %d torn writes the block is %d, want what was flushed", value-2, is)
		}
		fill(block, 3, value)
		if err := l.Write(3, block); err != nil {
			t.Fatal(err)
		}
		if value == 1 {
			if _, err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			files = r.kill(len(r.events))
			continue
		}
		files = r.kill(len(r.events))
		for _, slot := range files[:2] {
			if bytes.Equal(slot[3*BlockSize:][:BlockSize], block) {
				clear(slot[3*BlockSize+sector:][:sector])
			}
		}
	}
}
