// Package fuzzinput takes the input of a fuzz target apart into the choices
// that the target makes.
package fuzzinput

// Reader hands out the input, then zeroes.
type Reader struct{ rest []byte }

// New is a reader of b.
func New(b []byte) *Reader { return &Reader{rest: b} }

// Len is how much of the input is left.
func (r *Reader) Len() int { return len(r.rest) }

// Byte is the next byte.
func (r *Reader) Byte() uint8 {
	if len(r.rest) == 0 {
		return 0
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

// Word is a value of one byte, moved anywhere, or of eight bytes.
func (r *Reader) Word() uint64 {
	shift := r.Byte()
	if shift < 200 {
		return uint64(r.Byte()) << (shift % 64)
	}
	var v uint64
	for range 8 {
		v = v<<8 | uint64(r.Byte())
	}
	return v
}

// Take is the next n bytes, or as many as are left.
func (r *Reader) Take(n int) []byte {
	n = min(n, len(r.rest))
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}
