package layer

import "testing"

// Headers and entries from a disk that holds anything are decoded or refused, and
// encode to the same again.
func FuzzFormat(f *testing.F) {
	b := make([]byte, headerSize)
	(&header{sequence: 1, id: 2, blocks: 3, durable: 4, limit: 5, clean: true}).encode(b)
	f.Add(b, uint64(0))
	e := entry{sum: [2]uint32{1, 2}, gen: 3, cur: slotB, prev: slotA}
	e.encode(b, 9)
	f.Add(b, uint64(9))
	f.Fuzz(func(t *testing.T, b []byte, block uint64) {
		if len(b) < headerSize {
			return
		}
		var h, h2 header
		if h.decode(b) == nil {
			out := make([]byte, headerSize)
			h.encode(out)
			if err := h2.decode(out); err != nil || h != h2 {
				t.Errorf("%+v became %+v, %v", h, h2, err)
			}
		}
		var e, e2 entry
		if e.decode(b, block) && e != (entry{}) {
			out := make([]byte, entrySize)
			e.encode(out, block)
			if !e2.decode(out, block) || e != e2 {
				t.Errorf("%+v became %+v", e, e2)
			}
		}
	})
}
