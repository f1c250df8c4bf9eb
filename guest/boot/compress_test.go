package boot

import (
	"bytes"
	"encoding/binary"
	"hash/adler32"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// compressor makes payloads as the kernel's build does.
type compressor struct {
	name    string
	pack    func(t testing.TB, b []byte) []byte
	trailer bool // append the size; gzip ends in it
}

func (c compressor) payload(t testing.TB, vmlinux []byte) []byte {
	t.Helper()
	// The relocations and what else follows the ELF file.
	vmlinux = append(bytes.Clone(vmlinux), bytes.Repeat([]byte{0xAB}, 1000)...)
	p := c.pack(t, vmlinux)
	if c.trailer {
		p = binary.LittleEndian.AppendUint32(p, uint32(len(vmlinux)))
	}
	return p
}

// compressors covers every format; gzip is first, as it is the quickest.
var compressors = []compressor{
	{"gzip", writer(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }), false},
	{"lz4", packLZ4, true},
	{"zstd", writer(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }), true},
	{"xz", writer(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }), true},
	{"lzma", writer(func(w io.Writer) (io.WriteCloser, error) { return lzma.NewWriter(w) }), true},
	{"lzo", packLZO, true},
}

func writer(open func(io.Writer) (io.WriteCloser, error)) func(testing.TB, []byte) []byte {
	return func(t testing.TB, b []byte) []byte {
		t.Helper()
		var out bytes.Buffer
		w, err := open(&out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
}

// packLZ4 makes a legacy frame.
func packLZ4(t testing.TB, b []byte) []byte {
	t.Helper()
	out := binary.LittleEndian.AppendUint32(nil, lz4LegacyMagic)
	for len(b) > 0 {
		n := min(len(b), lz4BlockSize)
		block := make([]byte, lz4.CompressBlockBound(n))
		k, err := lz4.CompressBlockHC(b[:n], block, lz4.Fast, nil, nil)
		if err != nil || k == 0 {
			t.Fatalf("lz4: %d, %v", k, err)
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(k))
		out = append(out, block[:k]...)
		b = b[n:]
	}
	return out
}

// packLZO makes an lzop file with zero runs as matches, all else as literals.
func packLZO(t testing.TB, b []byte) []byte {
	t.Helper()
	out := []byte(lzopMagic)
	out = binary.BigEndian.AppendUint16(out, 0x1030)
	out = append(out, 0x20, 0xA0, 0x09, 0x40, 3, 9) // library, needed version, method, level
	out = binary.BigEndian.AppendUint32(out, 0x0300_0001)
	out = append(out, make([]byte, 12)...) // mode, times
	out = append(out, 4)
	out = append(out, "name"...)
	out = append(out, make([]byte, 4)...) // checksum of the header
	for len(b) > 0 {
		n := min(len(b), lzopBlockMax)
		block := lzoBlock(b[:n])
		if len(block) >= n {
			block = b[:n]
		}
		out = binary.BigEndian.AppendUint32(out, uint32(n))
		out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
		out = binary.BigEndian.AppendUint32(out, adler32.Checksum(b[:n]))
		out = append(out, block...)
		b = b[n:]
	}
	return append(out, 0, 0, 0, 0)
}

// lzoBlock encodes LZO1X: literal runs, and a run of one byte as a match of
// distance 1 (Documentation/staging/lzo.rst).
func lzoBlock(b []byte) []byte {
	var out []byte
	length := func(n, short int) { // the length's tail where it doesn't fit the instruction
		for n -= short; n > 255; n -= 255 {
			out = append(out, 0)
		}
		out = append(out, byte(n))
	}
	for i := 0; i < len(b); {
		lit := i + 4
		for lit < len(b) && !bytes.HasPrefix(b[lit:], bytes.Repeat(b[lit-1:lit], 40)) {
			lit++
		}
		lit = min(lit, len(b))
		if len(b)-lit < 4 {
			lit = len(b)
		}
		if n := lit - i; n <= 18 {
			out = append(out, byte(n-3))
		} else {
			out = append(out, 0)
			length(n, 18)
		}
		out = append(out, b[i:lit]...)
		run := lit
		for run < len(b)-4 && b[run] == b[lit-1] {
			run++
		}
		if run > lit {
			out = append(out, 0x20)
			length(run-lit, 33)
			out = append(out, 0, 0)
		}
		i = run
		if run == lit {
			break
		}
	}
	return append(out, 0x11, 0, 0)
}
