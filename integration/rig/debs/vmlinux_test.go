package debs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// tinyELF is the header of an ELF file without segments or sections, and some.
func tinyELF() []byte {
	h := make([]byte, 64, 5000)
	copy(h, "\x7fELF\x02\x01\x01")
	h[16], h[18], h[20] = 2, 62, 1 // ET_EXEC, x86-64, version 1
	h[52], h[54], h[58] = 64, 56, 64
	for len(h) < cap(h) {
		h = append(h, byte(len(h)*len(h)>>5))
	}
	return h
}

// bzImage lays out an image around a payload, whose unpacked size is appended
// for those who don't have it.
func bzImage(payload []byte, size int) []byte {
	const sectors = 2
	image := make([]byte, (sectors+1)*512+100)
	image[0x1F1] = sectors
	copy(image[0x202:], "HdrS\x0F\x02")
	if size >= 0 {
		payload = binary.LittleEndian.AppendUint32(payload, uint32(size))
	}
	binary.LittleEndian.PutUint32(image[0x248:], 100)
	binary.LittleEndian.PutUint32(image[0x24C:], uint32(len(payload)))
	return append(append(image, payload...), "what follows"...)
}

func pack(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packLZ4(w io.Writer) (io.WriteCloser, error) {
	z := lz4.NewWriter(w)
	return z, z.Apply(lz4.LegacyOption(true))
}

func packZstd(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func packXZ(w io.Writer) (io.WriteCloser, error)   { return xz.NewWriter(w) }
func packGzip(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

func TestExtractVmlinux(t *testing.T) {
	kernel := tinyELF()
	images := map[string][]byte{
		"lz4":  bzImage(pack(t, kernel, packLZ4), len(kernel)),
		"zstd": bzImage(pack(t, kernel, packZstd), len(kernel)),
		"xz":   bzImage(pack(t, kernel, packXZ), len(kernel)),
		"gzip": bzImage(pack(t, kernel, packGzip), -1),
	}
	for name, image := range images {
		got, err := extractVmlinux(image)
		if err != nil || !bytes.Equal(got, kernel) {
			t.Errorf("%s: %d bytes, %v; want the %d that were packed", name, len(got), err, len(kernel))
		}
	}
}

func TestExtractVmlinuxErrors(t *testing.T) {
	kernel := tinyELF()
	packed := pack(t, kernel, packZstd)
	good := bzImage(packed, len(kernel))
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	tests := map[string]struct {
		image []byte
		says  string
	}{
		"empty":           {nil, "not a bzImage"},
		"no mark":         {change(0x202, 'X'), "not a bzImage"},
		"old protocol":    {change(0x206, 7), "not a bzImage"},
		"far payload":     {change(0x24B, 0xFF), "payload ["},
		"long payload":    {change(0x24F, 0xFF), "payload ["},
		"no payload":      {bzImage([]byte("abc"), -1), "payload ["},
		"truncated":       {good[:len(good)-100], "payload ["},
		"unknown method":  {bzImage([]byte("\x00\x01\x02\x03\x04"), 5), "unknown compression"},
		"size too large":  {bzImage(packed, maxVmlinux+1), "claims"},
		"size too large2": {bzImage(packed, len(kernel)+1), "unpacks to"},
		"cut stream":      {bzImage(packed[:len(packed)/2], len(kernel)), "unpack"},
		"not ELF":         {bzImage(pack(t, []byte("some text, no kernel"), packZstd), 20), "payload: bad magic"},
	}
	for name, test := range tests {
		if got, err := extractVmlinux(test.image); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %d bytes, error %v; want one that says %q", name, len(got), err, test.says)
		}
	}
}

func FuzzExtractVmlinux(f *testing.F) {
	kernel := tinyELF()
	for _, p := range []func(io.Writer) (io.WriteCloser, error){packLZ4, packZstd, packXZ, packGzip} {
		f.Add(bzImage(pack(f, kernel, p), len(kernel)))
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		_, _ = extractVmlinux(image) // an error or not, but no panic and not for ever
	})
}
