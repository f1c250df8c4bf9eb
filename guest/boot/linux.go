package boot

import (
	"fmt"
	"strings"

	"github.com/bobuhiro11/gokvm/bootparam"

	"splitvm/guest/layout"
)

const (
	// defaultCmdline is COMMAND_LINE_SIZE of x86 less the NUL, for images that
	// don't tell (arch/x86/include/asm/setup.h).
	defaultCmdline = 2047
	// defaultInitrdMax is the highest address of an initrd's last byte where
	// the image does not tell: what every x86-64 kernel's header says.
	defaultInitrdMax = 0x7FFF_FFFF
)

// linux64 adds everything but the kernel for the 64-bit entry: zero page,
// command line, initrd, descriptors and page tables. The kernel uses memory up
// to end.
func (plan *Plan) linux64(p *Params, hdr *bootparam.SetupHeader, end layout.GPA, entry uint64) error {
	cmdline, err := cmdlineSegment(p.Cmdline, hdr.CmdlineSize)
	if err != nil {
		return err
	}
	initrd, err := initrdSegment(p, end, hdr.InitrdAddrMax)
	if err != nil {
		return err
	}
	seed, err := seedSegment(p.Seed)
	if err != nil {
		return err
	}
	zero, err := zeroPage(p, hdr, &initrd, &seed)
	if err != nil {
		return err
	}
	plan.Segments = append(plan.Segments, zero, seed, cmdline, initrd, bootGDT.segment(), linuxTables())
	plan.Entries = []Entry{linux64(entry)}
	return plan.finish(p.Memory)
}

// cmdlineSegment is the command line with its NUL. limit is the kernel's
// cmdline_size; 0 if unknown.
func cmdlineSegment(s string, limit uint32) (Segment, error) {
	if limit == 0 {
		limit = defaultCmdline
	}
	limit = min(limit, layout.CmdlineMax-1)
	if uint64(len(s)) > uint64(limit) {
		return Segment{}, fmt.Errorf("command line has %d bytes; this kernel takes at most %d", len(s), limit)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return Segment{}, fmt.Errorf("command line %q has a NUL byte", s)
	}
	return bytesAt("command line", layout.Cmdline, append([]byte(s), 0)), nil
}

// initrdSegment places the initrd as high as it may lie, so that the kernel can
// grow below it: page-aligned, in the RAM below 4 GiB, after kernelEnd. Its
// last byte is at most at addrMax (0: unknown). Empty if there is none.
func initrdSegment(p *Params, kernelEnd layout.GPA, addrMax uint32) (Segment, error) {
	if p.Initrd == nil || p.InitrdSize == 0 {
		return Segment{Name: "initrd"}, nil
	}
	if addrMax == 0 {
		addrMax = defaultInitrdMax
	}
	top := min(p.Memory.LowEnd(), layout.GPA(addrMax)+1)
	size := uint64(p.InitrdSize)
	floor := (kernelEnd + layout.PageSize - 1) &^ (layout.PageSize - 1)
	if p.InitrdSize < 0 || top < floor || size > uint64(top-floor) {
		return Segment{}, fmt.Errorf("initrd of %d bytes %w: there is room from %#x (kernel's end) to %#x; give the guest more memory or make the initrd smaller",
			p.InitrdSize, ErrRoom, floor, top)
	}
	gpa := (top - layout.GPA(size)) &^ (layout.PageSize - 1)
	return Segment{Name: "initrd", GPA: gpa, Size: size, Source: p.Initrd, Length: size, dense: true}, nil
}
