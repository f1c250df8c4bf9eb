package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
)

// guest writes blocks from several goroutines, as many requests at a time, and
// knows what each block has to be. Each write is another value, which is all over
// the block.
type guest struct {
	t    testing.TB
	v    *blockclient.Volume
	rngs []*rand.Rand
	want [][]uint64 // by goroutine: the value of each of its blocks
}

const (
	guestWriters = 6
	guestBlocks  = 96 // of each writer
	guestSize    = guestWriters * guestBlocks * remote.BlockSize
)

func newGuest(t testing.TB, v *blockclient.Volume, seed uint64) *guest {
	g := &guest{t: t, v: v}
	for w := range uint64(guestWriters) {
		g.rngs = append(g.rngs, rand.New(rand.NewPCG(seed, w)))
		g.want = append(g.want, make([]uint64, guestBlocks))
	}
	return g
}

func stamp(p []byte, value uint64) {
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, value)
	}
}

// run has all writers do so many steps each, and returns a wait for it.
func (g *guest) run(steps int) (wait func()) {
	var wg sync.WaitGroup
	for w := range guestWriters {
		wg.Go(func() {
			for range steps {
				if err := g.step(w); err != nil {
					g.t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	return wg.Wait
}

func (g *guest) step(w int) error {
	rng := g.rngs[w]
	at, n := rng.IntN(guestBlocks), 1+rng.IntN(4)
	n = min(n, guestBlocks-at)
	off := uint64(w*guestBlocks+at) * remote.BlockSize
	buf := make([]byte, n*remote.BlockSize)
	switch rng.IntN(6) {
	case 0:
		return doLength(g.v, blockwire.Flush, 0, 0, nil)
	case 1, 2:
		if err := do(g.v, blockwire.Read, off, buf); err != nil {
			return err
		}
		return g.compare(w, at, buf)
	case 3:
		if err := doLength(g.v, blockwire.Discard, off, uint64(len(buf)), nil); err != nil {
			return err
		}
		clear(g.want[w][at : at+n])
		return nil
	}
	value := rng.Uint64()
	stamp(buf, value)
	if err := do(g.v, blockwire.Write, off, buf); err != nil {
		return err
	}
	for i := range n {
		g.want[w][at+i] = value
	}
	return nil
}

func (g *guest) compare(w, at int, got []byte) error {
	want := make([]byte, remote.BlockSize)
	for i := 0; len(got) > 0; i, got = i+1, got[remote.BlockSize:] {
		stamp(want, g.want[w][at+i])
		if !bytes.Equal(got[:remote.BlockSize], want) {
			return fmt.Errorf("block %d is %x, want %x", w*guestBlocks+at+i, got[:8], want[:8])
		}
	}
	return nil
}

func (g *guest) verify() {
	g.t.Helper()
	buf := make([]byte, guestBlocks*remote.BlockSize)
	for w := range guestWriters {
		if err := do(g.v, blockwire.Read, uint64(w*len(buf)), buf); err != nil {
			g.t.Fatal(err)
		}
		if err := g.compare(w, 0, buf); err != nil {
			g.t.Fatal(err)
		}
	}
}
