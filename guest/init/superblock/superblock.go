// Package superblock tells the file system of a disk from its first bytes: what
// the guest's init (guest/init) mounts a root by, and what the host checks an
// image for. It is pure, and knows the file systems that splitvm's roots may
// have: the ext family, squashfs and erofs.
//
// Disks are not trusted: nothing that they hold is believed beyond its bounds.
package superblock

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"unicode"
)

// HeaderLen is how many of a disk's first bytes Detect wants to see.
const HeaderLen = 2048

// The types of file system, under the names that Linux mounts them by.
const (
	Ext4     = "ext4" // ext2 and ext3 as well: Linux's ext4 mounts all three
	Squashfs = "squashfs"
	Erofs    = "erofs"
)

// Info is what a superblock tells.
type Info struct {
	Type  string
	Label string // printable; empty where there is none
	UUID  string // lower case with dashes; empty where there is none
	Size  uint64 // bytes that the file system takes of the disk
}

// ReadOnly tells whether file systems of this type can't be written.
func (i Info) ReadOnly() bool { return i.Type == Squashfs || i.Type == Erofs }

// Detect tells the file system of the disk that begins with the header, false
// where it is none of the known ones, or the header too short to tell.
func Detect(header []byte) (Info, bool) {
	for _, detect := range []func([]byte) (Info, bool){squashfs, ext4, erofs} {
		if info, ok := detect(header); ok {
			return info, true
		}
	}
	return Info{}, false
}

// ext4 reads the superblock of the ext family, 1024 bytes in
// (Documentation/filesystems/ext4/globals.rst, "Super Block").
func ext4(header []byte) (Info, bool) {
	const (
		at            = 1024
		inodes        = 0x00 // s_inodes_count
		blocksLo      = 0x04 // s_blocks_count_lo
		logBlockSize  = 0x18 // s_log_block_size: 1024 << it
		magic         = 0x38 // s_magic
		revision      = 0x4C // s_rev_level
		incompat      = 0x60 // s_feature_incompat
		uuid          = 0x68
		label         = 0x78
		blocksHi      = 0x150
		has64bit      = 0x80 // of incompat
		journalDevice = 0x08 // of incompat: a journal, no file system
	)
	if len(header) < HeaderLen {
		return Info{}, false
	}
	sb, le := header[at:], binary.LittleEndian
	features := le.Uint32(sb[incompat:])
	switch {
	case le.Uint16(sb[magic:]) != 0xEF53,
		le.Uint32(sb[inodes:]) == 0, le.Uint32(sb[revision:]) > 1,
		le.Uint32(sb[logBlockSize:]) > 6, // 64 KiB is the largest block
		features&journalDevice != 0:
		return Info{}, false
	}
	blocks := uint64(le.Uint32(sb[blocksLo:]))
	if features&has64bit != 0 {
		blocks |= uint64(le.Uint32(sb[blocksHi:])) << 32
	}
	size, ok := product(blocks, 1024<<le.Uint32(sb[logBlockSize:]))
	return Info{Type: Ext4, Label: text(sb[label : label+16]), UUID: formatUUID(sb[uuid : uuid+16]), Size: size}, ok
}

// squashfs reads a squashfs 4.0 superblock (fs/squashfs/squashfs_fs.h, struct
// squashfs_super_block). It has neither a label nor a UUID.
func squashfs(header []byte) (Info, bool) {
	const (
		major     = 28 // s_major
		bytesUsed = 40
		length    = 96
	)
	if len(header) < length || string(header[:4]) != "hsqs" || binary.LittleEndian.Uint16(header[major:]) != 4 {
		return Info{}, false
	}
	size := binary.LittleEndian.Uint64(header[bytesUsed:])
	return Info{Type: Squashfs, Size: size}, size >= length
}

// erofs reads an erofs superblock, 1024 bytes in (fs/erofs/erofs_fs.h, struct
// erofs_super_block).
func erofs(header []byte) (Info, bool) {
	const (
		at         = 1024
		magic      = 0xE0F5E1E2
		blkszBits  = 12
		blocks     = 36
		uuid       = 48
		volumeName = 64
	)
	if len(header) < HeaderLen || binary.LittleEndian.Uint32(header[at:]) != magic || header[at+blkszBits] > 16 {
		return Info{}, false
	}
	sb := header[at:]
	size, ok := product(uint64(binary.LittleEndian.Uint32(sb[blocks:])), 1<<sb[blkszBits])
	return Info{Type: Erofs, Label: text(sb[volumeName : volumeName+16]), UUID: formatUUID(sb[uuid : uuid+16]), Size: size}, ok
}

// product is blocks times size in bytes, false where that is no disk's size.
func product(blocks, size uint64) (uint64, bool) {
	hi, lo := bits.Mul64(blocks, size)
	return lo, hi == 0 && lo>>63 == 0
}

// text is a NUL-padded name, empty where it is not printable UTF-8.
func text(field []byte) string {
	name, _, _ := bytes.Cut(field, []byte{0})
	s := strings.ToValidUTF8(string(name), "\x00")
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return s
}

func formatUUID(u []byte) string {
	if bytes.Equal(u, make([]byte, 16)) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
