package acpi

import (
	"bytes"
	"encoding/binary"
)

const (
	headerSize     = 36
	checksumOffset = 9

	oemID      = "SPLTVM" // 6 characters
	oemTableID = "SPLITVM "
	creatorID  = "SPVM"
)

// table puts the common header (ACPI 6.5, 5.2.6) before the contents.
func table(signature string, revision byte, contents ...[]byte) []byte {
	body := bytes.Join(contents, nil)
	b := append(make([]byte, 0, headerSize+len(body)), signature...)
	b = binary.LittleEndian.AppendUint32(b, uint32(headerSize+len(body)))
	b = append(b, revision, 0)
	b = append(b, oemID...)
	b = append(b, oemTableID...)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, creatorID...)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, body...)
	b[checksumOffset] = checksum(b)
	return b
}

// checksum is what makes the bytes add up to 0 when it is put in place of a 0.
func checksum(b []byte) byte {
	var sum byte
	for _, c := range b {
		sum += c
	}
	return -sum
}
