package memory

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/server"
)

// eachStore runs a test with memory of the process's own and with memory that is shared.
func eachStore(t *testing.T, lines int, test func(t *testing.T, s *Store)) {
	for name, share := range map[string]bool{"own": false, "shared": true} {
		t.Run(name, func(t *testing.T) {
			test(t, openStore(t, StoreConfig{Mem: uint64(lines) * remote.LineSize, Share: share}))
		})
	}
}

func openStore(t *testing.T, cfg StoreConfig) *Store {
	t.Helper()
	s, err := NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reclaimAgain starts the reclaimer that where has stopped.
func (s *Store) reclaimAgain() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { s.slab.reclaim(ctx) })
}

// where says where each frame is. No call may be under way; the reclaimer, which
// may have frames in hand, is stopped.
func (s *Store) where(t *testing.T) []string {
	t.Helper()
	s.stop()
	s.wg.Wait()
	at := make([]string, len(s.slab.meta))
	put := func(f frame, place string, refs uint32) {
		if at[f] != "" {
			t.Fatalf("frame %d is %s and %s", f, at[f], place)
		}
		at[f] = place
		if got := s.slab.meta[f].state.Load() &^ summed; got != refs {
			t.Fatalf("frame %d is %s and has %d references", f, place, got)
		}
	}
	held := 0
	for _, v := range *s.vregions.Load() {
		inIndex := uint32(0)
		for l := range remote.Line(v.lines) {
			if f := v.index.At(l); f != 0 {
				put(f, "held", 1)
				inIndex++
			}
		}
		if inIndex != v.held {
			t.Fatalf("%v holds %d lines and says %d", v.id, inIndex, v.held)
		}
		held += int(inIndex)
		for _, f := range v.spare {
			put(f, "spare", 0)
		}
	}
	if int64(held) != s.Held() {
		t.Fatalf("%d lines are held, the store says %d", held, s.Held())
	}
	for _, f := range s.slab.warm {
		put(f, "warm", 0)
	}
	for _, f := range s.slab.clean {
		put(f, "clean", 0)
	}
	for f := s.slab.fresh; int(f) < len(s.slab.meta); f++ {
		put(f, "fresh", 0)
	}
	for f := 1; f < len(at); f++ {
		if at[f] == "" {
			t.Fatalf("frame %d is nowhere", f)
		}
	}
	return at
}

// exerciser does random operations on two vRegions, as connections would.
type exerciser struct {
	s      *Store
	rng    *rand.Rand
	pinned []server.Pinned
}

func (e *exerciser) step() {
	ctx := context.Background()
	at := remote.Owned{VRegion: remote.VRegionID(1 + e.rng.IntN(2)), Epoch: 1}
	first := e.rng.IntN(3000)
	runs := []remote.Run{{First: remote.Line(first), Count: uint32(1 + e.rng.IntN(remote.MaxBatch))}}
	switch e.rng.IntN(12) {
	case 0:
		if e.rng.IntN(20) == 0 {
			e.s.Delete(ctx, at)
		}
	case 1, 2:
		e.s.Create(ctx, at, 3000)
	case 3, 4:
		e.s.Discard(ctx, at, runs)
	case 5, 6:
		e.pinned, _ = e.s.Pin(at, runs, e.pinned)
	case 7:
		e.s.Unpin(e.pinned)
		e.pinned = e.pinned[:0]
	case 8:
		e.s.slab.release()
	default:
		var f server.Filling
		if e.s.Reserve(at, runs, &f) != nil {
			return
		}
		for _, m := range f.Mem {
			copy(m, bytes.Repeat([]byte{0xee}, remote.LineSize)) // secret
		}
		if e.rng.IntN(4) == 0 {
			e.s.Abandon(&f)
			return
		}
		e.s.Commit(at, runs, &f)
	}
}

// exercise does random operations from several connections.
func exercise(s *Store, seed uint64) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			e := &exerciser{s: s, rng: rand.New(rand.NewPCG(uint64(i), seed))}
			for range 500 {
				e.step()
			}
			s.Unpin(e.pinned)
		})
	}
	wg.Wait()
}

// Whatever is done at the same time, each frame is in one place in the end, and
// what the slab gives out is zero.
func TestFrames(t *testing.T) { eachStore(t, 2500, testFrames) }

func testFrames(t *testing.T, s *Store) {
	s.slab.warmMost, s.slab.warmKeep = 300, 100
	places, seen := map[string]int{}, map[string]bool{}
	// How many frames are warm or clean at any one time is chance.
	for round := range 30 {
		if round > 0 {
			s.reclaimAgain()
		}
		exercise(s, uint64(round))
		s.slab.release()
		clear(places)
		for _, p := range s.where(t) {
			places[p]++
			seen[p] = true
		}
		t.Log(places)
		if round >= 3 && seen["held"] && seen["warm"] && seen["clean"] {
			break
		}
	}
	free := places["warm"] + places["clean"] + places["fresh"]
	all, ok := s.slab.take(nil, free)
	if !ok {
		t.Fatalf("%d frames are free and can't be taken", free)
	}
	for _, f := range all {
		if line := s.slab.line(f); bytes.Count(line, []byte{0}) != len(line) {
			t.Fatalf("frame %d has somebody's data", f)
		}
	}
	if !seen["held"] || !seen["warm"] || !seen["clean"] {
		t.Error("not all kinds of frames occurred: the test is too weak")
	}
}

// Memory of discarded lines goes back to the kernel.
func TestReclaim(t *testing.T) { eachStore(t, 64<<10, testReclaim) }

func testReclaim(t *testing.T, s *Store) {
	at := remote.Owned{VRegion: 1, Epoch: 1}
	if err := s.Create(t.Context(), at, 64<<10); err != nil {
		t.Fatal(err)
	}
	mem := make([]byte, remote.MaxBatch*remote.LineSize)
	for l := 0; l < 64<<10; l += remote.MaxBatch {
		if err := s.WriteLines(t.Context(), at, []remote.Run{{First: remote.Line(l), Count: remote.MaxBatch}}, [][]byte{mem}); err != nil {
			t.Fatal(err)
		}
	}
	before := s.slab.backed()
	if err := s.Discard(t.Context(), at, []remote.Run{{Count: 60 << 10}}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); s.slab.backed() > 4<<10+int64(s.slab.warmMost); waitTick() {
		if time.Now().After(end) {
			t.Fatalf("%d frames are backed, were %d; 4096 are held", s.slab.backed(), before)
		}
	}
	s.where(t)
	if s.slab.file == nil {
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(s.slab.file.Fd()), &st); err != nil || st.Blocks*512 > s.slab.backed()*remote.LineSize {
		t.Errorf("the file has %d KiB, and %d frames are backed (%v)", st.Blocks/2, s.slab.backed(), err)
	}
}

// With the memory of all vRegions' spares in one request's reach, it gets it.
func TestSparesAreCollected(t *testing.T) {
	s := openStore(t, StoreConfig{Mem: 1000 * remote.LineSize})
	mem := make([]byte, remote.MaxBatch*remote.LineSize)
	for id := range remote.VRegionID(12) { // 12 x 256 spares exceed the headroom
		at := remote.Owned{VRegion: id, Epoch: 1}
		if err := s.Create(t.Context(), at, 1000); err != nil {
			t.Fatal(err)
		}
		run := []remote.Run{{Count: remote.MaxBatch}}
		for range 2 {
			if err := s.WriteLines(t.Context(), at, run, [][]byte{mem}); err != nil {
				t.Fatalf("vRegion %d: %v", id, err)
			}
		}
		if err := s.Discard(t.Context(), at, run); err != nil {
			t.Fatal(err)
		}
	}
	s.where(t)
}

func TestStoreSizes(t *testing.T) {
	for _, mem := range []uint64{0, remote.LineSize - 1, 1 << 62} {
		if s, err := NewStore(StoreConfig{Mem: mem}); err == nil {
			s.Close()
			t.Errorf("a store of %d bytes was made", mem)
		}
	}
	s, err := NewStore(StoreConfig{Mem: 1 << 40}) // backed as it is used
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestHugeStore(t *testing.T) {
	s, err := NewStore(StoreConfig{Mem: 64 << 20, Huge: true})
	if err != nil {
		t.Skip("needs transparent huge pages: ", err)
	}
	defer s.Close()
	at := remote.Owned{VRegion: 1, Epoch: 1}
	if err := s.Create(t.Context(), at, 1000); err != nil {
		t.Fatal(err)
	}
	mem := bytes.Repeat([]byte{5}, remote.LineSize)
	if err := s.WriteLines(t.Context(), at, []remote.Run{{First: 9, Count: 1}}, [][]byte{mem}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, remote.LineSize)
	if _, err := s.ReadLines(t.Context(), at, []remote.Run{{First: 9, Count: 1}}, [][]byte{got}); err != nil || !bytes.Equal(got, mem) {
		t.Error(err)
	}
}
