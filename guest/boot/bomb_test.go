package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// A payload can't make us take more memory than a kernel may need.
func TestBombs(t *testing.T) {
	size := func(head []byte, n uint32) []byte {
		b := append(bytes.Clone(head), make([]byte, 100)...)
		return binary.LittleEndian.AppendUint32(b, n)
	}
	for _, tt := range []struct {
		name, want string
		payload    []byte
	}{
		{"size of 4 GiB", "says it has 4095 MiB", size([]byte("\x28\xb5\x2f\xfd"), 0xFFFF_FFFF)},
		{"zstd window of 256 MiB", "window size", size([]byte("\x28\xb5\x2f\xfd\x00\x90"), 1000)},
		{"zstd window of 64 GiB", "window size", size([]byte("\x28\xb5\x2f\xfd\x00\xd0"), 1000)},
		{"lzma dictionary of 2 GiB", "dictionary", size([]byte("\x5d\x00\x00\x00\x80\xff\xff\xff\xff\xff\xff\xff\xff"), 1000)},
		{"lzop block of 4 GiB", "block of", size([]byte("\x89LZO\x00\x0d\x0a\x1a\x0a\x10\x30\x20\xa0\x09\x40\x01\x09\x00\x00\x00\x00"+
			"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 1000)},
		{"lz4 block of 4 GiB", "block of", size([]byte("\x02\x21\x4c\x18\xff\xff\xff\xff"), 1000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := readAll(tt.payload)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %v with %q", err, ErrImage, tt.want)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
				t.Errorf("%d MiB allocated", n>>20)
			}
		})
	}
}

// A stream that goes on after the size that it said is read no further.
func TestStreamLongerThanSaid(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := b.Bytes()
	binary.LittleEndian.PutUint32(p[len(p)-4:], 1000) // of 64 MiB
	src, err := inflate(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	got, err := io.ReadAll(io.NewSectionReader(src, 0, 1<<30))
	if err != nil || len(got) != 1000 {
		t.Errorf("%d bytes, %v; want 1000", len(got), err)
	}
}

func readAll(payload []byte) error {
	src, err := inflate(bytes.NewReader(payload), int64(len(payload)))
	if err != nil {
		return err
	}
	defer src.Close()
	_, err = io.ReadAll(io.NewSectionReader(src, 0, src.size))
	return err
}
