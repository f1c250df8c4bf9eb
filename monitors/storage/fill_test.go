package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
)

// A volume that is filled has what it was filled with, zeroes after it, and no
// space for what was zeroes.
func TestFill(t *testing.T) {
	address, _ := start(t, t.TempDir(), "127.0.0.1:0")
	const size = 9<<20 + 700
	create(t, address, "v", 1, 12<<20)
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data[1<<20 : 2<<20])
	rand.NewChaCha8([32]byte{2}).Read(data[size-5000:])
	v := open(t, blockclient.Config{Monitors: []string{address}, Name: "v"})
	if err := v.Fill(t.Context(), bytes.NewReader(data), size); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1<<20)
	for at := uint64(0); at < 12<<20; at += 1 << 20 {
		if err := do(v, blockwire.Read, at, got); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 1<<20)
		if at < size {
			copy(want, data[at:])
		}
		if !bytes.Equal(got, want) {
			t.Errorf("the MiB at %d differs", at>>20)
		}
	}
	info, err := dialControl(t, address).InspectVolume(t.Context(), "v")
	if err != nil || info.Used > 5<<18 {
		t.Errorf("%d bytes are used, %v", info.Used, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Fill(ctx, bytes.NewReader(data), size); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is given up: %v", err)
	}
	if err := v.Fill(t.Context(), bytes.NewReader(make([]byte, 1)), 1<<20); !errors.Is(err, io.EOF) {
		t.Errorf("a source that is shorter than it should be: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}
