package boot

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/bobuhiro11/gokvm/bootparam"

	"splitvm/guest/layout"
)

const (
	setupHeaderStart = 0x1F1 // struct setup_header in the image and the zero page
	jumpOffset       = 0x201 // its length after 0x202, as a jump's operand
	minProtocol      = 0x020C
	xlfKernel64      = 1 << 0
	sectorSize       = 512
)

// bzImage is a compressed kernel image, opened.
type bzImage struct {
	hdr    bootparam.SetupHeader // fields after the image's own header are zero
	format string                // of the payload
	source *inflated             // the vmlinux in it
	elf    *elfFile
}

// openBzImage reads the headers of the image and of the vmlinux in it.
func openBzImage(r io.ReaderAt, size int64) (*bzImage, error) {
	hdr, err := readSetupHeader(r, size)
	if err != nil {
		return nil, err
	}
	off, n, err := payloadAt(hdr, size)
	if err != nil {
		return nil, err
	}
	b := &bzImage{hdr: *hdr}
	b.source, err = inflate(io.NewSectionReader(r, off, n), n)
	if err != nil {
		return nil, err
	}
	b.format = b.source.format
	b.elf, err = readELF(b.source, b.source.size)
	b.source.settle()
	if err != nil {
		return nil, fmt.Errorf("kernel in the bzImage (%s): %w", b.format, err)
	}
	return b, nil
}

// readSetupHeader reads and checks the setup header. gokvm's parser copies
// whatever follows a header that is shorter than the newest; the boot protocol
// tells the length, and the rest has to be zero.
func readSetupHeader(r io.ReaderAt, size int64) (*bootparam.SetupHeader, error) {
	if size < setupHeaderStart+sectorSize {
		return nil, fmt.Errorf("%w: %d bytes are too few for a bzImage", ErrImage, size)
	}
	bp, err := bootparam.New(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%w: bzImage: %w", ErrImage, err)
	}
	var jump [1]byte
	if _, err := r.ReadAt(jump[:], jumpOffset); err != nil {
		return nil, fmt.Errorf("read bzImage header: %w", err)
	}
	hdr, err := trimHeader(&bp.Hdr, 0x202+int(jump[0])-setupHeaderStart)
	if err != nil {
		return nil, err
	}
	switch {
	case hdr.Version < minProtocol:
		return nil, fmt.Errorf("%w: bzImage has boot protocol %d.%02d; 2.12 (Linux 3.8) or later is needed", ErrImage, hdr.Version>>8, hdr.Version&0xFF)
	case hdr.XloadFlags&xlfKernel64 == 0:
		return nil, fmt.Errorf("%w: bzImage is a 32-bit kernel", ErrImage)
	}
	return hdr, nil
}

// trimHeader keeps the first n bytes of the header.
func trimHeader(hdr *bootparam.SetupHeader, n int) (*bootparam.SetupHeader, error) {
	b := make([]byte, binary.Size(hdr))
	if _, err := binary.Encode(b, binary.LittleEndian, hdr); err != nil {
		return nil, fmt.Errorf("bzImage header: %w", err)
	}
	clear(b[min(n, len(b)):])
	var out bootparam.SetupHeader
	if _, err := binary.Decode(b, binary.LittleEndian, &out); err != nil {
		return nil, fmt.Errorf("bzImage header: %w", err)
	}
	return &out, nil
}

// payloadAt is where the compressed kernel lies in the file: payload_offset
// counts from the protected-mode part, which follows setup_sects sectors (0
// stands for 4) and the boot sector.
func payloadAt(hdr *bootparam.SetupHeader, size int64) (off, n int64, err error) {
	sects := int64(hdr.SetupSects)
	if sects == 0 {
		sects = 4
	}
	off = (sects+1)*sectorSize + int64(hdr.PayloadOffset)
	n = int64(hdr.PayloadLength)
	if n < minPayload || off+n > size {
		return 0, 0, fmt.Errorf("%w: bzImage of %d bytes has its payload at %#x, %#x bytes: is the file whole?", ErrImage, size, off, n)
	}
	return off, n, nil
}

// plan lays the kernel out at its preferred address, by its 64-bit entry.
func (b *bzImage) plan(p *Params) (*Plan, error) {
	segs, err := b.elf.segments("kernel", b.source, layout.HighMemory)
	if err != nil {
		return nil, err
	}
	entry, err := b.elf.physical(b.elf.entry)
	if err != nil {
		return nil, err
	}
	end, err := b.claim(p.Memory)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Kind: "bzImage, " + b.format + ", " + ModeLinux64.String(), Segments: segs}
	err = plan.linux64(p, &b.hdr, end, entry)
	return plan, err
}

// claim is the first address after what the kernel uses before it knows the
// memory map: init_size bytes from the preferred address.
func (b *bzImage) claim(m layout.Map) (layout.GPA, error) {
	end := max(b.elf.end(), layout.GPA(b.hdr.PrefAddress+uint64(b.hdr.InitSize)))
	if b.hdr.PrefAddress > uint64(layout.LowRAMEnd) {
		return 0, fmt.Errorf("%w: bzImage prefers address %#x, above the RAM below 4 GiB", ErrImage, b.hdr.PrefAddress)
	}
	if end > m.LowEnd() {
		return 0, fmt.Errorf("kernel up to %#x %w of %d MiB: give it at least %d MiB", end, ErrRoom, m.Size()>>20, uint64(end)>>20+1)
	}
	return end, nil
}
