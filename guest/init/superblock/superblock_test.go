package superblock

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// extHeader is the beginning of a file system of the ext family with 64-bit
// block numbers. Images made by mke2fs and mksquashfs are tested against Detect
// in images/rootfs.
func extHeader() []byte {
	h := make([]byte, HeaderLen)
	sb, le := h[1024:], binary.LittleEndian
	le.PutUint32(sb[0x00:], 64)      // inodes
	le.PutUint32(sb[0x04:], 0x1000)  // blocks, low
	le.PutUint32(sb[0x18:], 2)       // 4 KiB blocks
	le.PutUint16(sb[0x38:], 0xEF53)  // magic
	le.PutUint32(sb[0x4C:], 1)       // revision
	le.PutUint32(sb[0x60:], 0x80)    // 64bit
	le.PutUint32(sb[0x150:], 0x0001) // blocks, high
	for i := range 16 {
		sb[0x68+i] = byte(0xF0 | i)
	}
	copy(sb[0x78:], "root")
	return h
}

func squashHeader() []byte {
	h := make([]byte, 96)
	copy(h, "hsqs")
	binary.LittleEndian.PutUint16(h[28:], 4)
	binary.LittleEndian.PutUint64(h[40:], 123456)
	return h
}

func erofsHeader() []byte {
	h := make([]byte, HeaderLen)
	binary.LittleEndian.PutUint32(h[1024:], 0xE0F5E1E2)
	h[1024+12] = 12
	binary.LittleEndian.PutUint32(h[1024+36:], 5)
	copy(h[1024+64:], "image\x1b[2J")
	return h
}

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		header []byte
		want   Info
	}{
		"ext4":     {extHeader(), Info{Ext4, "root", "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff", 0x1_0000_1000 << 12}},
		"squashfs": {squashHeader(), Info{Type: Squashfs, Size: 123456}},
		"erofs":    {erofsHeader(), Info{Type: Erofs, Size: 5 << 12}},
	} {
		got, ok := Detect(c.header)
		if d := cmp.Diff(c.want, got); d != "" || !ok {
			t.Errorf("%s: %v (-want +got):\n%s", name, ok, d)
		}
	}
}

func TestDetectRefuses(t *testing.T) {
	change := func(header []byte, at int, b ...byte) []byte {
		copy(header[at:], b)
		return header
	}
	for name, header := range map[string][]byte{
		"empty":              {},
		"zeroes":             make([]byte, HeaderLen),
		"short ext4":         extHeader()[:HeaderLen-1],
		"short squashfs":     squashHeader()[:95],
		"short erofs":        erofsHeader()[:HeaderLen-1],
		"ext4 block size":    change(extHeader(), 1024+0x18, 7),
		"ext4 revision":      change(extHeader(), 1024+0x4C, 2),
		"ext4 no inodes":     change(extHeader(), 1024, 0),
		"ext4 journal":       change(extHeader(), 1024+0x60, 0x08),
		"ext4 too large":     change(extHeader(), 1024+0x150, 0xFF, 0xFF, 0xFF, 0xFF),
		"squashfs 3":         change(squashHeader(), 28, 3),
		"squashfs too small": change(squashHeader(), 40, 0, 0, 0),
		"erofs block size":   change(erofsHeader(), 1024+12, 64),
	} {
		if got, ok := Detect(header); ok {
			t.Errorf("%s: took it for %+v", name, got)
		}
	}
}

func FuzzDetect(f *testing.F) {
	f.Add(extHeader())
	f.Add(squashHeader())
	f.Add(erofsHeader())
	f.Fuzz(func(t *testing.T, header []byte) {
		info, ok := Detect(header)
		if !ok {
			return
		}
		if text([]byte(info.Label)) != info.Label || (info.UUID != "" && len(info.UUID) != 36) {
			t.Fatalf("%+v", info)
		}
	})
}
