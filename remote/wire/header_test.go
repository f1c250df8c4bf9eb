package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/remote"
)

func full() Header {
	return Header{
		Op: Read.Answer(), Status: remote.StaleEpoch, Flags: FlagSum | FlagMap, Count: 0x1234, ID: 0x89abcdef,
		Length: 4096 + 8, Object: 0x1122334455667788, Epoch: 0x99aabbccddeeff00, Offset: 0x0123456789abcdef, Sum: 0xcafebabe,
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	want := full()
	var b [HeaderSize]byte
	want.Encode(b[:])
	var got Header
	if err := got.Decode(b[:]); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The layout is a promise to other versions: byte for byte.
func TestHeaderLayout(t *testing.T) {
	h := full()
	var b [HeaderSize]byte
	h.Encode(b[:])
	want := []byte{
		'S', 'V', 1, 0x83, 7, 0x0a, 0x34, 0x12,
		0xef, 0xcd, 0xab, 0x89, 0x08, 0x10, 0, 0,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99,
		0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
		0xbe, 0xba, 0xfe, 0xca,
	}
	want = binary.LittleEndian.AppendUint32(want, crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)))
	if !bytes.Equal(b[:], want) {
		t.Errorf("got  % x\nwant % x", b[:], want)
	}
}

func TestHeaderRefusals(t *testing.T) {
	resum := func(b []byte) {
		binary.LittleEndian.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	}
	for _, c := range []struct {
		name  string
		spoil func(b []byte)
		want  string
	}{
		{"magic", func(b []byte) { b[1] = 'X'; resum(b) }, "magic"},
		{"checksum", func(b []byte) { b[44] ^= 1 }, "checksum"},
		{"any bit", func(b []byte) { b[20] ^= 0x10 }, "checksum"},
		{"version", func(b []byte) { b[2] = 2; resum(b) }, "version"},
		{"length", func(b []byte) { binary.LittleEndian.PutUint32(b[12:], MaxBody+1); resum(b) }, "longer"},
		{"huge length", func(b []byte) { binary.LittleEndian.PutUint32(b[12:], math.MaxUint32); resum(b) }, "longer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := full()
			var b [HeaderSize]byte
			h.Encode(b[:])
			c.spoil(b[:])
			err := h.Decode(b[:])
			if !errors.Is(err, remote.Protocol) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a protocol error about %q", err, c.want)
			}
		})
	}
}

// Numbers that went over a wire once are never used for something else.
func TestNumbersAreAppendOnly(t *testing.T) {
	ops := map[Op]string{1: "hello", 2: "ping", 3: "read", 4: "write", 5: "discard", 6: "create", 7: "adopt", 8: "delete", 9: "stat", 10: "stats"}
	for op := range Ops {
		if op > 0 && op.String() != ops[op] {
			t.Errorf("operation %d is %q, was %q", op, op, ops[op])
		}
	}
	kinds := []remote.Kind{
		remote.OK, remote.Internal, remote.Protocol, remote.Unsupported, remote.Range, remote.NoVRegion, remote.Exists,
		remote.StaleEpoch, remote.FutureEpoch, remote.Full, remote.Corrupt, remote.Fenced, remote.Closing, remote.Timeout,
		remote.Disconnected, remote.Restarted, remote.Closed, remote.Cancelled,
	}
	for i, k := range kinds {
		if int(k) != i {
			t.Errorf("kind %q is %d, was %d", k, k, i)
		}
	}
	if FlagRuns != 1 || FlagSum != 2 || FlagZero != 4 || FlagMap != 8 || OptSums != 1 || Demand != 0 || Bulk != 1 {
		t.Error("a flag, option or class has changed its number")
	}
}

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		name string
		runs []remote.Run
		meta int
	}{
		{"one line", []remote.Run{{First: 7, Count: 1}}, 0},
		{"one run", []remote.Run{{First: 1 << 17, Count: 256}}, 0},
		{"the longest that fits the header", []remote.Run{{First: 0, Count: math.MaxUint16}}, 0},
		{"one that does not", []remote.Run{{First: 0, Count: math.MaxUint16 + 1}}, 8},
		{"several", []remote.Run{{First: 3, Count: 1}, {First: 1, Count: 2}, {First: math.MaxUint32, Count: math.MaxUint32}}, 24},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Header
			meta := h.PutRuns(c.runs, make([]byte, MaxMeta))
			h.Length = uint32(len(meta))
			n, err := h.RunBytes()
			if err != nil || n != c.meta || len(meta) != c.meta {
				t.Fatalf("%d bytes of runs, %d announced, %v; want %d", len(meta), n, err, c.meta)
			}
			got := h.Runs(make([]remote.Run, 0, remote.MaxBatch), meta)
			if d := cmp.Diff(c.runs, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRunRefusals(t *testing.T) {
	for _, h := range []Header{
		{Flags: FlagRuns, Count: remote.MaxBatch + 1, Length: MaxBody},
		{Flags: FlagRuns, Count: 2, Length: 15},
		{Flags: FlagRuns, Count: 1, Length: 0},
	} {
		if n, err := h.RunBytes(); !errors.Is(err, remote.Protocol) {
			t.Errorf("%+v: %d, %v; want a protocol error", h, n, err)
		}
	}
	// An offset above 32 bits must not become a line that exists.
	h := Header{Offset: 1 << 32, Count: 1}
	if got := h.Runs(make([]remote.Run, 0, 1), nil); got[0].First != math.MaxUint32 {
		t.Errorf("offset 2^32 became line %d", got[0].First)
	}
}

func TestGreetings(t *testing.T) {
	g := Greeting{Class: Bulk, Options: OptSums, Attempt: 0x01020304, Session: 0x1112131415161718, Incarnation: 0x2122232425262728}
	b := bytes.Repeat([]byte{0xff}, HelloSize)
	g.Encode(b)
	want := []byte{1, 1, 0, 0, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0, 0, 0, 0, 0, 0, 0, 0}
	if !bytes.Equal(b, want) {
		t.Errorf("hello % x", b)
	}
	var g2 Greeting
	if err := g2.Decode(b); err != nil || g2 != g {
		t.Errorf("%+v, %v", g2, err)
	}
	if err := g2.Decode(b[:HelloSize-1]); !errors.Is(err, remote.Protocol) {
		t.Errorf("short hello: %v", err)
	}
	b[0] = Classes
	if err := g2.Decode(b); !errors.Is(err, remote.Protocol) {
		t.Errorf("unknown class: %v", err)
	}
	w := Welcome{Options: OptSums, Instance: 0x0102030405060708, Monitor: 9}
	wb := bytes.Repeat([]byte{0xff}, WelcomeSize)
	w.Encode(wb)
	if !bytes.Equal(wb, []byte{1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("welcome % x", wb)
	}
	var w2 Welcome
	if err := w2.Decode(wb); err != nil || w2 != w {
		t.Errorf("%+v, %v", w2, err)
	}
	if err := w2.Decode(nil); !errors.Is(err, remote.Protocol) {
		t.Errorf("empty welcome: %v", err)
	}
}

// The body checksum has to notice any flipped bit, and lines that changed places.
func TestBodySum(t *testing.T) {
	lines := [][]byte{bytes.Repeat([]byte{1}, remote.LineSize), bytes.Repeat([]byte{2}, remote.LineSize)}
	sum := func(meta []byte, lines ...[]byte) uint32 {
		var s BodySum
		s.Reset(meta)
		for _, l := range lines {
			s.AddLine(LineSum(l))
		}
		return s.Sum()
	}
	meta := []byte{1, 2, 3}
	want := sum(meta, lines...)
	if sum(meta, lines[1], lines[0]) == want || sum(nil, lines...) == want || sum(meta, lines[0]) == want {
		t.Error("different bodies with one checksum")
	}
	lines[1][4095] ^= 0x80
	if sum(meta, lines...) == want {
		t.Error("flipped bit went unnoticed")
	}
	// iSCSI's test vector (RFC 3720, B.4): 32 bytes of zeroes.
	if got := LineSum(make([]byte, 32)); got != 0x8a9136aa {
		t.Errorf("CRC-32C of 32 zero bytes is %#x", got)
	}
}

func FuzzHeader(f *testing.F) {
	h := full()
	var b [HeaderSize]byte
	h.Encode(b[:])
	f.Add(b[:])
	h = Header{Op: Write, Flags: FlagRuns, Count: 300, Length: 5000}
	h.Encode(b[:])
	f.Add(b[:])
	f.Add(make([]byte, HeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			return
		}
		b = b[:HeaderSize]
		// Let the fuzzer past the checksum half of the time.
		if b[44]&1 == 0 {
			binary.LittleEndian.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
		}
		var h Header
		if err := h.Decode(b); err != nil {
			if !errors.Is(err, remote.Protocol) {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		var again [HeaderSize]byte
		h.Encode(again[:])
		if !bytes.Equal(again[:], b) {
			t.Fatalf("decoded and encoded again:\n% x\n% x", b, again)
		}
		n, err := h.RunBytes()
		if err != nil {
			return
		}
		if n > MaxMeta || n > int(h.Length) {
			t.Fatalf("%d bytes of runs in %+v", n, h)
		}
		runs := h.Runs(make([]remote.Run, 0, remote.MaxBatch), make([]byte, n))
		if len(runs) > remote.MaxBatch {
			t.Fatalf("%d runs", len(runs))
		}
	})
}
