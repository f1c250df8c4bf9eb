package acpi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// AML opcodes (ACPI 6.5, 20.3).
const (
	opZero        = 0x00
	opOne         = 0x01
	opName        = 0x08
	opByte        = 0x0A
	opWord        = 0x0B
	opDWord       = 0x0C
	opString      = 0x0D
	opQWord       = 0x0E
	opScope       = 0x10
	opBuffer      = 0x11
	opPackage     = 0x12
	prefixDual    = 0x2E
	prefixMulti   = 0x2F
	prefixExt     = 0x5B
	extDevice     = 0x82
	maxPackage    = 255
	nameSegLength = 4
)

// pkgLength encodes the length of a package of n bytes, itself included in what
// is encoded (20.2.4): 6 bits in one byte, or 4 bits and 1 to 3 bytes.
func pkgLength(n int) []byte {
	if total := n + 1; total < 1<<6 {
		return []byte{byte(total)}
	}
	for extra := 1; extra <= 3; extra++ {
		total := n + 1 + extra
		if total >= 1<<(4+8*extra) {
			continue
		}
		b := []byte{byte(extra<<6 | total&0xF)}
		for i := range extra {
			b = append(b, byte(total>>(4+8*i)))
		}
		return b
	}
	panic(fmt.Sprintf("acpi: AML package of %d bytes", n)) // ours: 268 MB of tables
}

// packaged is an opcode, the length, and the contents.
func packaged(op []byte, contents ...[]byte) []byte {
	body := bytes.Join(contents, nil)
	return bytes.Join([][]byte{op, pkgLength(len(body)), body}, nil)
}

// nameString encodes a path such as `\_SB.PCI0` (20.2.2). Segments have 1 to 4
// characters and are padded with underscores.
func nameString(path string) []byte {
	var b []byte
	if rest, ok := strings.CutPrefix(path, `\`); ok {
		b, path = append(b, '\\'), rest
	}
	segs := strings.Split(path, ".")
	switch len(segs) {
	case 1:
	case 2:
		b = append(b, prefixDual)
	default:
		b = append(b, prefixMulti, byte(len(segs)))
	}
	for _, s := range segs {
		if len(s) == 0 || len(s) > nameSegLength {
			panic("acpi: bad AML name " + path) // ours: names are constants
		}
		b = append(b, s...)
		b = append(b, "____"[len(s):]...)
	}
	return b
}

// integer encodes v in its shortest form (20.2.3).
func integer(v uint64) []byte {
	le := binary.LittleEndian
	switch {
	case v == 0:
		return []byte{opZero}
	case v == 1:
		return []byte{opOne}
	case v < 1<<8:
		return []byte{opByte, byte(v)}
	case v < 1<<16:
		return le.AppendUint16([]byte{opWord}, uint16(v))
	case v < 1<<32:
		return le.AppendUint32([]byte{opDWord}, uint32(v))
	}
	return le.AppendUint64([]byte{opQWord}, v)
}

// text encodes an ASCII string.
func text(s string) []byte {
	b := append([]byte{opString}, s...)
	return append(b, 0)
}

func name(path string, value []byte) []byte {
	return bytes.Join([][]byte{{opName}, nameString(path), value}, nil)
}

func scope(path string, body ...[]byte) []byte {
	return packaged([]byte{opScope}, append([][]byte{nameString(path)}, body...)...)
}

func device(path string, body ...[]byte) []byte {
	return packaged([]byte{prefixExt, extDevice}, append([][]byte{nameString(path)}, body...)...)
}

func pkg(elements ...[]byte) []byte {
	if len(elements) > maxPackage {
		panic(fmt.Sprintf("acpi: AML package of %d elements", len(elements))) // ours
	}
	return packaged([]byte{opPackage}, append([][]byte{{byte(len(elements))}}, elements...)...)
}

func buffer(b []byte) []byte {
	return packaged([]byte{opBuffer}, integer(uint64(len(b))), b)
}

// eisaID encodes an id such as PNP0A08 (20.2.8): three letters of 5 bits and
// four hexadecimal digits, big-endian.
func eisaID(id string) []byte {
	const digits = "0123456789ABCDEF"
	v := uint32(0)
	for _, c := range id[:3] {
		v = v<<5 | uint32(c-'@')&0x1F
	}
	for _, c := range id[3:7] {
		v = v<<4 | uint32(strings.IndexRune(digits, c))
	}
	b := make([]byte, 4)
	binary.BigEndian.PutUint32(b, v)
	return integer(uint64(binary.LittleEndian.Uint32(b)))
}
