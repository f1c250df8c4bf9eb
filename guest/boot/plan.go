package boot

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"splitvm/guest/layout"
)

// Errors that callers may branch on. Everything that Load returns for a bad
// image wraps ErrImage; for a good one that the machine is too small for,
// ErrRoom.
var (
	ErrImage = errors.New("bad image")
	ErrRoom  = errors.New("does not fit into guest memory")
)

// Plan is what has to be in a guest's RAM and registers for it to start.
// It is immutable.
type Plan struct {
	// Kind says what was recognised, for people: "bzImage, lz4, 64-bit entry".
	Kind string
	// Segments are sorted by address, don't overlap, and lie inside RAM.
	Segments []Segment
	// Entries holds the state of each vCPU that starts by itself: one for
	// Linux, whose others wait for the start-up interrupt; all for a bare guest.
	Entries []Entry
}

// Segment is Size bytes of guest RAM from GPA on. Its contents are Data, or
// Length bytes of Source from Offset on; the rest, up to Size, is zero.
type Segment struct {
	Name string // what it is, for error messages
	GPA  layout.GPA
	Size uint64

	Data []byte

	// Source of the contents if Data is nil. A kernel that has to be
	// decompressed is read through a forward-going decompressor: ascending
	// offsets cost one pass, going back starts it again.
	Source io.ReaderAt
	Offset int64
	Length uint64

	dense bool // there are hardly pages of zeroes in Source
}

// Contents is the number of bytes that are not zero-fill.
func (s *Segment) Contents() uint64 {
	if s.Source != nil {
		return s.Length
	}
	return uint64(len(s.Data))
}

func (s *Segment) end() layout.GPA { return s.GPA + layout.GPA(s.Size) }

func bytesAt(name string, gpa layout.GPA, data []byte) Segment {
	return Segment{Name: name, GPA: gpa, Size: uint64(len(data)), Data: data}
}

// finish sorts the segments and checks that they are in RAM, one beside the
// other.
func (p *Plan) finish(m layout.Map) error {
	p.Segments = slices.DeleteFunc(p.Segments, func(s Segment) bool { return s.Size == 0 })
	slices.SortStableFunc(p.Segments, func(a, b Segment) int { return cmp.Compare(a.GPA, b.GPA) })
	for i := range p.Segments {
		s := &p.Segments[i]
		if s.Contents() > s.Size {
			return fmt.Errorf("%w: %s at %#x has %#x bytes for %#x", ErrImage, s.Name, s.GPA, s.Contents(), s.Size)
		}
		if !m.Contains(s.GPA, s.Size) {
			return fmt.Errorf("%s at %#x, %#x bytes, %w of %d MiB: give it more", s.Name, s.GPA, s.Size, ErrRoom, m.Size()>>20)
		}
		if i > 0 && p.Segments[i-1].end() > s.GPA {
			return fmt.Errorf("%w: %s at %#x runs into %s at %#x", ErrImage, p.Segments[i-1].Name, p.Segments[i-1].GPA, s.Name, s.GPA)
		}
	}
	return nil
}
