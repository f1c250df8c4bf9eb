package boot

import (
	"encoding/binary"
	"fmt"
	"io"
)

// noteXenPhys32Entry is XEN_ELFNOTE_PHYS32_ENTRY (include/xen/interface/elfnote.h).
const noteXenPhys32Entry = 18

// pvhAddress looks for the note that holds the 32-bit physical PVH entry.
// Linux writes the address as 4 bytes (CONFIG_X86_32) or 8.
func (f *elfFile) pvhAddress(r io.ReaderAt) (entry uint32, found bool, err error) {
	for _, p := range f.notes {
		if p.Filesz > maxNotes {
			return 0, false, fmt.Errorf("%w: %#x bytes of ELF notes", ErrImage, p.Filesz)
		}
		b := make([]byte, p.Filesz)
		if _, err := io.ReadFull(io.NewSectionReader(r, int64(p.Off), int64(p.Filesz)), b); err != nil {
			return 0, false, fmt.Errorf("%w: ELF notes: %w", ErrImage, err)
		}
		if desc, ok := findNote(b, "Xen\x00", noteXenPhys32Entry); ok {
			entry, err := noteAddress(desc)
			return entry, err == nil, err
		}
	}
	return 0, false, nil
}

func noteAddress(desc []byte) (uint32, error) {
	switch len(desc) {
	case 4:
		return binary.LittleEndian.Uint32(desc), nil
	case 8:
		if v := binary.LittleEndian.Uint64(desc); v>>32 == 0 {
			return uint32(v), nil
		}
	}
	return 0, fmt.Errorf("%w: PVH note % x is no 32-bit address", ErrImage, desc)
}

// findNote returns the descriptor of the first note of that name and type.
// Notes are three words (sizes of name and descriptor, type), name and
// descriptor, each padded to 4 bytes; a broken one ends the search.
func findNote(b []byte, name string, typ uint32) ([]byte, bool) {
	const header = 12
	for len(b) >= header {
		nameSize := uint64(binary.LittleEndian.Uint32(b))
		descSize := uint64(binary.LittleEndian.Uint32(b[4:]))
		t := binary.LittleEndian.Uint32(b[8:])
		desc := header + (nameSize+3)&^3
		next := desc + (descSize+3)&^3
		if desc+descSize > uint64(len(b)) {
			return nil, false
		}
		if t == typ && string(b[header:header+nameSize]) == name {
			return b[desc : desc+descSize], true
		}
		b = b[min(next, uint64(len(b))):]
	}
	return nil, false
}
