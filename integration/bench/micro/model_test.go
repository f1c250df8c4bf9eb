//go:build amd64

package micro

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/ept/uffd"
	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm/memory"
)

// TestModelKeepsLines: what was written is there after the line has left and come back.
func TestModelKeepsLines(t *testing.T) {
	require.UFFD(t)
	const lines, resident = 64, 5
	m, err := memory.NewLocal([]layout.Range{{Start: 0, Size: lines * bare.LineSize}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	region := m.Regions()[0]
	faults, err := uffd.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer faults.Close()
	if err := faults.Handshake(uffd.FeaturesPager); err != nil {
		t.Fatal(err)
	}
	s := stretch{Addr: uint64(region.HostAddr()), Size: region.Size, Offset: region.Offset}
	if err := faults.Register(s.Addr, s.Size, uffd.RegisterMissing|uffd.RegisterMinor|uffd.RegisterWP); err != nil {
		t.Fatal(err)
	}
	h := &handler{setup: floorSetup{Stretches: []stretch{s}, Lines: resident, Model: true}, memfd: int(region.File.Fd()), faults: faults}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stop)
	ended := make(chan error, 1)
	go func() { ended <- h.serveFaults(stop) }()

	rng := rand.New(rand.NewPCG(1, 2))
	var want [lines]uint64
	var b [8]byte
	for range 2000 {
		i := rng.IntN(lines)
		at := layout.GPA(i*bare.LineSize + 128)
		if err := m.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint64(b[:]); got != want[i] {
			t.Fatalf("line %d has %d, want %d", i, got, want[i])
		}
		if rng.IntN(2) == 0 {
			want[i] = rng.Uint64()
			binary.LittleEndian.PutUint64(b[:], want[i])
			if err := m.WriteAt(b[:], at); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := h.misses.Load(); n < 1000 {
		t.Errorf("%d misses of 2000 accesses: lines did not leave", n)
	}
	unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
