package wire

import (
	"testing"

	"splitvm/remote"
)

// BenchmarkLineSum is what a payload checksum costs for a line.
func BenchmarkLineSum(b *testing.B) {
	line := make([]byte, remote.LineSize)
	b.SetBytes(remote.LineSize)
	for b.Loop() {
		LineSum(line)
	}
}

// BenchmarkHeader encodes and decodes a header, with its checksum twice.
func BenchmarkHeader(b *testing.B) {
	h := full()
	buf := make([]byte, HeaderSize)
	for b.Loop() {
		h.Encode(buf)
		if err := h.Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
