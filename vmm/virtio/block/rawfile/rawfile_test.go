package rawfile_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/rawfile"
	"splitvm/vmm/virtio/virtiotest"
)

const diskSize = 4 << 20

// image makes a disk image of random bytes.
func image(t testing.TB) (path string, content []byte) {
	t.Helper()
	content = make([]byte, diskSize)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(content)
	path = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

func open(t testing.TB, c rawfile.Config) *rawfile.Disk {
	t.Helper()
	d, err := rawfile.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func start(t testing.TB, c rawfile.Config, o virtiotest.Options) *virtiotest.Machine {
	t.Helper()
	dev, err := block.New(block.Config{Backend: open(t, c), Queues: 2, Serial: "0123456789"})
	if err != nil {
		t.Fatal(err)
	}
	return virtiotest.Start(t, dev, o, 0)
}

// request is a header and what follows it.
func request(kind uint32, sector uint64, payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, sector)
	return append(b, payload...)
}

func TestReadAndWrite(t *testing.T) {
	path, content := image(t)
	m := start(t, rawfile.Config{Path: path}, virtiotest.Options{EventIdx: true, Indirect: true})
	for i, q := range m.Queues {
		sector := uint64(100 + i)
		got := q.Do(request(0, sector, nil), 4096+1)
		if want := append(bytes.Clone(content[sector*512:][:4096]), 0); !bytes.Equal(got, want) {
			t.Fatalf("queue %d: read differs from the file", i)
		}
		data := bytes.Repeat([]byte{byte(i + 7)}, 1024)
		if got := q.Do(request(1, sector, data), 1); !bytes.Equal(got, []byte{0}) {
			t.Fatalf("queue %d: write says %v", i, got)
		}
		if got := q.Do(request(4, 0, nil), 1); !bytes.Equal(got, []byte{0}) {
			t.Fatalf("queue %d: flush says %v", i, got)
		}
		copy(content[sector*512:], data)
	}
	now, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(now, content) {
		t.Fatalf("the file is not what was written (%v)", err)
	}
}
