package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"splitvm/remote"
)

var (
	errRunCount = fmt.Errorf("%w: too many runs", remote.Protocol)
	errRunBody  = fmt.Errorf("%w: body shorter than its runs", remote.Protocol)
)

// PutRuns describes runs in the header, and in meta if one header cannot hold
// them. meta must have room for all of them; it returns the part in use.
// The caller has checked that there are at most remote.MaxBatch.
func (h *Header) PutRuns(runs []remote.Run, meta []byte) []byte {
	if inHeader(runs) {
		h.Offset, h.Count = uint64(runs[0].First), uint16(runs[0].Count)
		return meta[:0]
	}
	h.Flags |= FlagRuns
	h.Count = uint16(len(runs))
	for i, r := range runs {
		putRun(meta[i*RunSize:], r)
	}
	return meta[:len(runs)*RunSize]
}

// inHeader tells whether runs go into the header.
func inHeader(runs []remote.Run) bool { return len(runs) == 1 && runs[0].Count <= math.MaxUint16 }

func putRun(b []byte, r remote.Run) {
	binary.LittleEndian.PutUint32(b, uint32(r.First))
	binary.LittleEndian.PutUint32(b[4:], r.Count)
}

// RunBytes returns how many bytes of meta the runs of a request take. An error
// is of kind remote.Protocol.
func (h *Header) RunBytes() (int, error) {
	if h.Flags&FlagRuns == 0 {
		return 0, nil
	}
	if h.Count > remote.MaxBatch {
		return 0, errRunCount
	}
	n := int(h.Count) * RunSize
	if n > int(h.Length) {
		return 0, errRunBody
	}
	return n, nil
}

// Runs appends the runs of a request to dst[:0], whose capacity must be
// remote.MaxBatch. meta is what RunBytes counted. The runs are as the peer sent
// them: unchecked.
func (h *Header) Runs(dst []remote.Run, meta []byte) []remote.Run {
	if h.Flags&FlagRuns == 0 {
		first := min(h.Offset, math.MaxUint32)
		return append(dst[:0], remote.Run{First: remote.Line(first), Count: uint32(h.Count)})
	}
	dst = dst[:0]
	for ; len(meta) >= RunSize; meta = meta[RunSize:] {
		dst = append(dst, remote.Run{
			First: remote.Line(binary.LittleEndian.Uint32(meta)),
			Count: binary.LittleEndian.Uint32(meta[4:]),
		})
	}
	return dst
}
