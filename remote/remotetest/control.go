package remotetest

import (
	"testing"

	"splitvm/remote"
)

func ranges(t *testing.T, s Store) {
	create(t, s, at1, 100)
	mustWrite(t, s, at1, 1, remote.Run{First: 0, Count: 100})
	for _, c := range []struct {
		name string
		runs []remote.Run
		mem  int // lines
	}{
		{"past the end", []remote.Run{{First: 100, Count: 1}}, 1},
		{"over the end", []remote.Run{{First: 99, Count: 2}}, 2},
		{"one run good, one not", []remote.Run{{First: 0, Count: 1}, {First: 5000, Count: 1}}, 2},
		{"overflowing 32 bits", []remote.Run{{First: 0xffffffff, Count: 2}}, 2},
		{"an empty run", []remote.Run{{First: 0, Count: 1}, {First: 1, Count: 0}}, 1},
		{"no runs", nil, 0},
		{"too many lines", []remote.Run{{First: 0, Count: 100}, {First: 0, Count: 100}, {First: 0, Count: 57}}, 257},
		{"less memory than lines", []remote.Run{{First: 0, Count: 2}}, 1},
		{"more memory than lines", []remote.Run{{First: 0, Count: 2}}, 3},
	} {
		var mem [][]byte
		if c.mem > 0 {
			mem = [][]byte{lines(c.mem)}
		}
		_, err := s.ReadLines(t.Context(), at1, c.runs, mem)
		wantKind(t, "read "+c.name, err, remote.Range)
		wantKind(t, "write "+c.name, s.WriteLines(t.Context(), at1, c.runs, mem), remote.Range)
	}
	_, err := s.ReadLines(t.Context(), at1, []remote.Run{{First: 0, Count: 1}}, [][]byte{make([]byte, 4095), make([]byte, 1)})
	wantKind(t, "memory not of whole lines", err, remote.Range)
	for _, run := range []remote.Run{{First: 100, Count: 1}, {First: 0, Count: 0}, {First: 1, Count: 0xffffffff}} {
		wantKind(t, "discard", s.Discard(t.Context(), at1, []remote.Run{run}), remote.Range)
	}
	wantVersion(t, s, at1, 1, remote.Run{First: 0, Count: 100})
}

func epochs(t *testing.T, s Store) {
	run := remote.Run{First: 3, Count: 2}
	create(t, s, at1, 100)
	mustWrite(t, s, at1, 1, run)
	older := remote.Owned{VRegion: at1.VRegion, Epoch: at1.Epoch - 1}
	newer := remote.Owned{VRegion: at1.VRegion, Epoch: at1.Epoch + 10}
	refused := func(at remote.Owned, want remote.Kind) {
		t.Helper()
		_, err := s.ReadLines(t.Context(), at, []remote.Run{run}, [][]byte{lines(2)})
		wantKind(t, "read", err, want)
		wantKind(t, "write", write(t, s, at, 66, run), want)
		wantKind(t, "discard", s.Discard(t.Context(), at, []remote.Run{run}), want)
	}
	refused(older, remote.StaleEpoch)
	refused(newer, remote.FutureEpoch)
	wantKind(t, "adopt an older epoch", s.Adopt(t.Context(), older), remote.StaleEpoch)
	wantKind(t, "adopt the same epoch", s.Adopt(t.Context(), at1), remote.OK)
	wantVersion(t, s, at1, 1, run)
	for range 2 {
		wantKind(t, "adopt a newer epoch", s.Adopt(t.Context(), newer), remote.OK)
	}
	refused(at1, remote.StaleEpoch)
	wantVersion(t, s, newer, 1, run)
	mustWrite(t, s, newer, 2, run)
	wantVersion(t, s, newer, 2, run)
	st, err := s.Stat(t.Context(), at1.VRegion)
	if want := (remote.VRegionStat{VRegion: at1.VRegion, Epoch: newer.Epoch, Lines: 100, Held: 2}); err != nil || st != want {
		t.Errorf("stat %+v, %v; want %+v", st, err, want)
	}
	wantKind(t, "delete under an old epoch", s.Delete(t.Context(), at1), remote.StaleEpoch)
	wantVersion(t, s, newer, 2, run)
}

func lifecycle(t *testing.T, s Store) {
	run := remote.Run{First: 0, Count: 10}
	unknown := func() {
		t.Helper()
		_, err := s.ReadLines(t.Context(), at1, []remote.Run{run}, [][]byte{lines(10)})
		wantKind(t, "read", err, remote.NoVRegion)
		wantKind(t, "write", write(t, s, at1, 1, run), remote.NoVRegion)
		wantKind(t, "discard", s.Discard(t.Context(), at1, []remote.Run{run}), remote.NoVRegion)
		wantKind(t, "adopt", s.Adopt(t.Context(), at1), remote.NoVRegion)
		wantKind(t, "delete", s.Delete(t.Context(), at1), remote.NoVRegion)
		_, err = s.Stat(t.Context(), at1.VRegion)
		wantKind(t, "stat", err, remote.NoVRegion)
	}
	unknown()
	wantKind(t, "create with no lines", s.Create(t.Context(), at1, 0), remote.Range)
	wantKind(t, "create too large", s.Create(t.Context(), at1, remote.MaxVRegionLines+1), remote.Range)
	wantKind(t, "create in epoch 0", s.Create(t.Context(), remote.Owned{VRegion: 1}, 10), remote.Range)
	unknown()
	create(t, s, at1, 10)
	mustWrite(t, s, at1, 1, run)
	create(t, s, at1, 10) // again: nothing happens
	wantVersion(t, s, at1, 1, run)
	wantKind(t, "create with another size", s.Create(t.Context(), at1, 11), remote.Exists)
	wantKind(t, "create with another epoch", s.Create(t.Context(), remote.Owned{VRegion: at1.VRegion, Epoch: 6}, 10), remote.Exists)
	wantKind(t, "delete", s.Delete(t.Context(), at1), remote.OK)
	unknown()
	create(t, s, at1, 10)
	wantVersion(t, s, at1, 0, run)
}

// isolation: vRegions don't see each other, and a new one is zero where an old
// one has left its frames.
func isolation(t *testing.T, s Store) {
	at2 := remote.Owned{VRegion: 0x22, Epoch: 1}
	run := remote.Run{First: 0, Count: 200}
	create(t, s, at1, 300)
	create(t, s, at2, 300)
	mustWrite(t, s, at1, 1, run)
	wantVersion(t, s, at2, 0, run)
	mustWrite(t, s, at2, 2, run)
	wantVersion(t, s, at1, 1, run)
	if err := s.Delete(t.Context(), at1); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, s, at2, 2, run)
	at3 := remote.Owned{VRegion: 0x33, Epoch: 1}
	create(t, s, at3, 300)
	wantVersion(t, s, at3, 0, run)
	mustWrite(t, s, at3, 3, remote.Run{First: 7, Count: 1})
	wantVersion(t, s, at3, 0, remote.Run{First: 0, Count: 7}, remote.Run{First: 8, Count: 192})
}

func full(t *testing.T, s Store) {
	create(t, s, at1, 2*Limit)
	batch := func(first int) remote.Run { return remote.Run{First: remote.Line(first), Count: 256} }
	for l := 0; l < Limit-10; l += 256 {
		run := batch(l)
		run.Count = min(run.Count, uint32(Limit-10-l))
		mustWrite(t, s, at1, 1, run)
	}
	wantKind(t, "write beyond the limit", write(t, s, at1, 66, batch(Limit-20)), remote.Full)
	wantVersion(t, s, at1, 1, remote.Run{First: Limit - 20, Count: 10})
	wantVersion(t, s, at1, 0, remote.Run{First: Limit - 10, Count: 200})
	mustWrite(t, s, at1, 1, remote.Run{First: Limit - 10, Count: 10})
	wantKind(t, "one more line", write(t, s, at1, 66, remote.Run{First: Limit, Count: 1}), remote.Full)
	for round := range uint64(5) {
		for l := 0; l < Limit; l += 256 {
			mustWrite(t, s, at1, 2+round, batch(l)) // at the limit, over what is held
		}
	}
	for l := 0; l < Limit; l += 256 {
		wantVersion(t, s, at1, 6, batch(l))
	}
	if n := held(t, s, at1.VRegion); n != Limit {
		t.Errorf("%d lines held, want %d", n, Limit)
	}
	if err := s.Discard(t.Context(), at1, []remote.Run{{First: 50, Count: 3}}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "more than was freed", write(t, s, at1, 66, remote.Run{First: Limit, Count: 4}), remote.Full)
	mustWrite(t, s, at1, 7, remote.Run{First: Limit, Count: 3})
	wantVersion(t, s, at1, 7, remote.Run{First: Limit, Count: 3})
	wantVersion(t, s, at1, 6, batch(256))
}
