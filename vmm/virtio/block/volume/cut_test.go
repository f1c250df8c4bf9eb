package volume

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/vmm/virtio/block"
)

// Whatever the guest's pieces are, the parts are whole sectors in few enough
// slices, and together what was asked for.
func TestCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		data := make([]byte, (1+rng.IntN(4000))*remote.SectorSize)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		var memory [][]byte
		most := 1 + rng.IntN(4*len(data)/remote.SectorSize+3)
		for rest := data; len(rest) > 0; {
			n := min(1+rng.IntN(2*most), len(rest))
			n = max(n, 40) // 256 of them are more than a sector
			n = min(n, len(rest))
			memory, rest = append(memory, rest[:n:n]), rest[n:]
		}
		j := &job{}
		r := &block.Request{Op: block.OpWrite, Offset: 512, Length: uint64(len(data)), Memory: memory}
		n := j.split(r)
		if n == 0 {
			t.Fatal("refused")
		}
		var got []byte
		for _, sub := range j.subs[:n] {
			if sub.Offset != 512+uint64(len(got)) || sub.Length == 0 || sub.Length%remote.SectorSize != 0 ||
				sub.Length > remote.MaxBlockIO || len(sub.Memory) > blockclient.MaxSlices {
				t.Fatalf("part of %d bytes at %d in %d slices", sub.Length, sub.Offset, len(sub.Memory))
			}
			part := bytes.Join(sub.Memory, nil)
			if uint64(len(part)) != sub.Length {
				t.Fatalf("part of %d bytes has %d", sub.Length, len(part))
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, data) {
			t.Fatal("the parts are not the request")
		}
	}
}

// A sector in too many pieces is refused, not gone about for ever.
func TestCutRefuses(t *testing.T) {
	data := make([]byte, 2*remote.SectorSize)
	var memory [][]byte
	for i := range data {
		memory = append(memory, data[i:i+1])
	}
	j := &job{}
	if n := j.split(&block.Request{Op: block.OpRead, Length: uint64(len(data)), Memory: memory}); n != 0 {
		t.Errorf("%d parts", n)
	}
}
