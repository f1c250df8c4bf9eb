package debs

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// maxVmlinux bounds what a payload may unpack to.
const maxVmlinux = 1 << 30

// writeVmlinux writes the ELF kernel that a bzImage holds.
func writeVmlinux(bzImage, vmlinux string) error {
	image, err := os.ReadFile(bzImage)
	if err != nil {
		return err
	}
	kernel, err := extractVmlinux(image)
	if err != nil {
		return fmt.Errorf("extract vmlinux from %s: %w", bzImage, err)
	}
	return os.WriteFile(vmlinux, kernel, 0o644)
}

// extractVmlinux returns the ELF kernel that is compressed in a bzImage. Where it
// is, the setup header says (Linux Documentation/arch/x86/boot.rst, protocol
// 2.08 and later: setup_sects at 0x1F1, payload_offset at 0x248 and
// payload_length at 0x24C, from the end of the setup sectors).
func extractVmlinux(image []byte) ([]byte, error) {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" || binary.LittleEndian.Uint16(image[0x206:]) < 0x208 {
		return nil, errors.New("not a bzImage of boot protocol 2.08 or later")
	}
	sectors := uint64(image[0x1F1])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + uint64(binary.LittleEndian.Uint32(image[0x248:]))
	end := start + uint64(binary.LittleEndian.Uint32(image[0x24C:]))
	if end > uint64(len(image)) || end < start+8 {
		return nil, fmt.Errorf("payload [%#x, %#x) in an image of %#x bytes", start, end, len(image))
	}
	payload := image[start:end]
	// The last four bytes are the unpacked size (for gzip its own trailer).
	size := binary.LittleEndian.Uint32(payload[len(payload)-4:])
	if size > maxVmlinux {
		return nil, fmt.Errorf("payload claims to unpack to %d bytes", size)
	}
	r, err := decompressor(payload)
	if err != nil {
		return nil, err
	}
	kernel, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if len(kernel) != int(size) {
		return nil, fmt.Errorf("payload unpacks to %d bytes, not %d", len(kernel), size)
	}
	if _, err := elf.NewFile(bytes.NewReader(kernel)); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return kernel, nil
}

// decompressor tells the method from the payload's first bytes. All but gzip
// have the unpacked size appended, which is not part of the compressed stream.
func decompressor(payload []byte) (io.Reader, error) {
	stream := bytes.NewReader(payload[:len(payload)-4])
	switch {
	case bytes.HasPrefix(payload, []byte{0x02, 0x21, 0x4C, 0x18}): // lz4, legacy frames: bookworm's 6.1
		return lz4.NewReader(stream), nil
	case bytes.HasPrefix(payload, []byte{0x28, 0xB5, 0x2F, 0xFD}): // zstd: 6.12
		return zstd.NewReader(stream, zstd.WithDecoderMaxWindow(1<<27), zstd.WithDecoderConcurrency(1))
	case bytes.HasPrefix(payload, []byte{0xFD, '7', 'z', 'X', 'Z', 0}):
		return xz.NewReader(stream)
	case bytes.HasPrefix(payload, []byte{0x1F, 0x8B}):
		return gzip.NewReader(bytes.NewReader(payload))
	}
	return nil, fmt.Errorf("payload of unknown compression, it begins with % x", payload[:8])
}
