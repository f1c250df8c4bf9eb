package boot

import (
	"encoding/binary"
	"fmt"

	"github.com/bobuhiro11/gokvm/bootparam"

	"splitvm/guest/layout"
)

const (
	loaderUndefined = 0xFF   // type_of_loader: none with a number of its own
	videoNormal     = 0xFFFF // vid_mode
	bootFlag        = 0xAA55

	zeroPageRSDP = 0x70 // acpi_rsdp_addr (include/uapi/asm/bootparam.h)
)

// zeroPage builds struct boot_params around the image's setup header.
// gokvm's structure ends after the memory map, keeps the EDD signatures at a
// wrong size and offset (unused here) and has no acpi_rsdp_addr: we pad it to
// its page and put that field in.
func zeroPage(p *Params, hdr *bootparam.SetupHeader, initrd, setupData *Segment) (Segment, error) {
	bp := bootparam.BootParam{Hdr: *hdr}
	bp.Hdr.TypeOfLoader = loaderUndefined
	bp.Hdr.LoadFlags |= bootparam.LoadedHigh
	bp.Hdr.VidMode = videoNormal
	bp.Hdr.CmdlinePtr = uint32(layout.Cmdline)
	bp.Hdr.RamdiskImage = uint32(initrd.GPA)
	bp.Hdr.RamdiskSize = uint32(initrd.Size)
	bp.Hdr.SetupData = uint64(setupData.GPA)
	for _, e := range p.Memory.E820() {
		bp.AddE820Entry(uint64(e.Start), e.Size, uint32(e.Type)) // 7 at most, of 128
	}
	b, err := bp.Bytes()
	if err != nil {
		return Segment{}, fmt.Errorf("zero page: %w", err)
	}
	page := make([]byte, layout.PageSize)
	copy(page, b)
	binary.LittleEndian.PutUint64(page[zeroPageRSDP:], uint64(p.RSDP))
	return bytesAt("zero page", layout.ZeroPage, page), nil
}

// MaxSeed is the most that Params.Seed may hold, in bytes.
const MaxSeed = layout.PageSize - setupDataHeader

const (
	setupDataHeader = 16 // struct setup_data: next, type, length
	setupRNGSeed    = 9  // SETUP_RNG_SEED
)

// seedSegment is the one node of the list at setup_data, empty without a seed.
func seedSegment(seed []byte) (Segment, error) {
	switch {
	case len(seed) == 0:
		return Segment{Name: "seed"}, nil
	case len(seed) > MaxSeed:
		return Segment{}, fmt.Errorf("random seed has %d bytes: give %d at most", len(seed), MaxSeed)
	}
	b := binary.LittleEndian.AppendUint64(nil, 0)
	b = binary.LittleEndian.AppendUint32(b, setupRNGSeed)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(seed)))
	return bytesAt("seed", layout.SetupData, append(b, seed...)), nil
}

// plainHeader is a setup header for a kernel that comes without one: the values
// that a boot loader owes by the 64-bit protocol.
func plainHeader() *bootparam.SetupHeader {
	return &bootparam.SetupHeader{
		BootFlag:        bootFlag,
		Header:          bootparam.MagicSignature,
		Version:         minProtocol,
		KernelAlignment: layout.Page2M,
		InitrdAddrMax:   defaultInitrdMax,
		CmdlineSize:     defaultCmdline,
	}
}
