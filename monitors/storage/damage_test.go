package storage

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
)

// A bit that flips on the disk is an error to who reads the block, never wrong
// data, and the scrub finds it; with another replica the reader gets that one's.
func TestDamagedBlock(t *testing.T) {
	dir := t.TempDir()
	address, stop := start(t, dir, "unix:"+filepath.Join(t.TempDir(), "s"))
	other, _ := start(t, t.TempDir(), "127.0.0.1:0")
	create(t, address, "v", 1, 1<<20)
	create(t, other, "v", 1, 1<<20)
	cfg := blockclient.Config{Monitors: []string{address, other}, Name: "v"}
	v := open(t, cfg)
	data := bytes.Repeat([]byte("data"), 8*remote.BlockSize/4)
	if err := do(v, blockwire.Write, 0, data); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	flip(t, filepath.Join(dir, "layers", "0000000000000001", "a"), 5*remote.BlockSize+100)
	address, _ = start(t, dir, address)

	one := open(t, blockclient.Config{Monitors: []string{address}, Name: "v", ReadOnly: true})
	defer one.Close()
	got := make([]byte, len(data))
	if err := do(one, blockwire.Read, 0, got); !errors.Is(err, remote.Damaged) {
		t.Errorf("read of a damaged block: %v", err)
	}
	if err := do(one, blockwire.Read, 0, got[:5*remote.BlockSize]); err != nil {
		t.Errorf("read of its neighbours: %v", err)
	}
	both := open(t, cfg)
	defer both.Close()
	if err := do(both, blockwire.Read, 0, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read with another replica: %v, right: %v", err, bytes.Equal(got, data))
	}
	r, err := dialControl(t, address).ScrubVolume(context.Background(), "v")
	if err != nil || len(r.Damaged) != 1 || r.Damaged[0] != 5 || r.Checked != 8 {
		t.Errorf("scrub: %+v, %v", r, err)
	}
}

func flip(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

// smallDir is a directory on a file system of so many bytes.
func smallDir(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mount a tmpfs: %v; run the test as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A full file system is an error to who writes, and harms nothing that is there;
// what is discarded can be used again.
func TestFull(t *testing.T) {
	dir := smallDir(t, "12m")
	address, stop := start(t, dir, "127.0.0.1:0")
	defer stop()
	create(t, address, "v", 1, 64<<20)
	v := open(t, blockclient.Config{Monitors: []string{address}, Name: "v"})
	rng := rand.New(rand.NewPCG(1, 1))
	want := map[uint64]uint64{}
	buf := make([]byte, 16*remote.BlockSize)
	full := 0
	for i := range 600 {
		at := rng.Uint64N(64<<20/remote.BlockSize-16) * remote.BlockSize
		value := rng.Uint64()
		stamp(buf, value)
		switch err := do(v, blockwire.Write, at, buf); {
		case err == nil:
			for off := at; off < at+uint64(len(buf)); off += remote.BlockSize {
				want[off] = value
			}
		case errors.Is(err, remote.Full):
			full++
			for off := at; off < at+uint64(len(buf)); off += remote.BlockSize {
				delete(want, off) // it is what it was, or what it was to be
			}
		default:
			t.Fatal(err)
		}
		if i%50 == 49 {
			if err := doLength(v, blockwire.Flush, 0, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if full == 0 {
		t.Fatal("the file system never was full")
	}
	got := make([]byte, remote.BlockSize)
	for off, value := range want {
		if err := do(v, blockwire.Read, off, got); err != nil {
			t.Fatal(err)
		}
		if stamp(buf[:remote.BlockSize], value); !bytes.Equal(got, buf[:remote.BlockSize]) {
			t.Fatalf("block at %d is not what was written", off)
		}
	}
	if r, err := dialControl(t, address).ScrubVolume(context.Background(), "v"); err != nil || len(r.Damaged) > 0 {
		t.Fatalf("scrub: %v, damaged %v", err, r.Damaged)
	}
	if err := doLength(v, blockwire.Discard, 0, 64<<20, nil); err != nil {
		t.Fatal(err)
	}
	if err := doLength(v, blockwire.Flush, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := do(v, blockwire.Write, 0, buf); err != nil {
		t.Errorf("write after a discard: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}
