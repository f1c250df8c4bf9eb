package virtq_test

import (
	"errors"
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

const (
	next     = 1
	write    = 2
	indirect = 4
)

// rings is raw access to a queue of 4 at fixed places.
type rings struct {
	t *testing.T
	m *memory.Memory
	virtq.Config
}

const tableAt = 0x8000 // an indirect table

func newRings(t *testing.T, packed, indirectOK bool) rings {
	m := virtiotest.RAM(t, 64<<10)
	return rings{t, m, virtq.Config{Size: 4, Desc: 0x1000, Driver: 0x2000, Device: 0x3000, Packed: packed, Indirect: indirectOK}}
}

// desc writes a split descriptor, entry i of the table at.
func (r rings) desc(at layout.GPA, i int, addr uint64, n uint32, flags, link uint16) {
	at += 16 * layout.GPA(i)
	r.words(at, addr, uint64(n)|uint64(flags)<<32|uint64(link)<<48)
}

// packed writes a packed descriptor.
func (r rings) packed(at layout.GPA, i int, addr uint64, n uint32, flags, id uint16) {
	at += 16 * layout.GPA(i)
	r.words(at, addr, uint64(n)|uint64(id)<<32|uint64(flags)<<48)
}

func (r rings) words(at layout.GPA, lo, hi uint64) {
	if err := errors.Join(r.m.Store64(at, lo), r.m.Store64(at+8, hi)); err != nil {
		r.t.Fatal(err)
	}
}

// available sets avail.idx and the ring's first entries.
func (r rings) available(idx uint16, heads ...uint16) {
	for i, h := range heads {
		r.m.Store16(r.Driver+4+2*layout.GPA(i), h)
	}
	r.m.Store16(r.Driver+2, idx)
}

func TestBrokenSplitRings(t *testing.T) {
	for name, set := range map[string]func(r rings){
		"index too far":   func(r rings) { r.available(5) },
		"index goes back": func(r rings) { r.available(0xffff) },
		"head too large":  func(r rings) { r.available(1, 4) },
		"link too large":  func(r rings) { r.desc(r.Desc, 0, 0, 1, next, 4); r.available(1, 0) },
		"loop to itself":  func(r rings) { r.desc(r.Desc, 0, 0, 1, next, 0); r.available(1, 0) },
		"loop of two":     func(r rings) { r.desc(r.Desc, 0, 0, 0, next, 1); r.desc(r.Desc, 1, 0, 0, next, 0); r.available(1, 0) },
		"readable after": func(r rings) {
			r.desc(r.Desc, 0, 0, 1, next|write, 1)
			r.desc(r.Desc, 1, 0, 1, 0, 0)
			r.available(1, 0)
		},
		"4 GiB in all": func(r rings) {
			r.desc(r.Desc, 0, 0, 1<<31, next, 1)
			r.desc(r.Desc, 1, 0, 1<<31, write, 0)
			r.available(1, 0)
		},
		"table of 0":        func(r rings) { r.desc(r.Desc, 0, tableAt, 0, indirect, 0); r.available(1, 0) },
		"table of 24 bytes": func(r rings) { r.desc(r.Desc, 0, tableAt, 24, indirect, 0); r.available(1, 0) },
		"table too long":    func(r rings) { r.desc(r.Desc, 0, 0, 16*1025, indirect, 0); r.available(1, 0) },
		"table outside RAM": func(r rings) { r.desc(r.Desc, 0, 0xfff8, 32, indirect, 0); r.available(1, 0) },
		"table wraps":       func(r rings) { r.desc(r.Desc, 0, ^uint64(7), 32, indirect, 0); r.available(1, 0) },
		"table and next":    func(r rings) { r.desc(r.Desc, 0, tableAt, 16, indirect|next, 1); r.available(1, 0) },
		"table in a table": func(r rings) {
			r.desc(r.Desc, 0, tableAt, 16, indirect, 0)
			r.desc(tableAt, 0, tableAt, 16, indirect, 0)
			r.available(1, 0)
		},
		"loop in a table": func(r rings) {
			r.desc(r.Desc, 0, tableAt, 16, indirect, 0)
			r.desc(tableAt, 0, 0, 1, next, 0)
			r.available(1, 0)
		},
		"link out of table": func(r rings) {
			r.desc(r.Desc, 0, tableAt, 32, indirect, 0)
			r.desc(tableAt, 0, 0, 1, next, 2)
			r.available(1, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRings(t, false, true)
			set(r)
			popFails(t, r)
		})
	}
	t.Run("indirect not negotiated", func(t *testing.T) {
		r := newRings(t, false, false)
		r.desc(r.Desc, 0, tableAt, 16, indirect, 0)
		r.available(1, 0)
		popFails(t, r)
	})
}

const avail = 1 << 7 // AVAIL set, USED clear: available in the first round

func TestBrokenPackedRings(t *testing.T) {
	for name, set := range map[string]func(r rings){
		"endless": func(r rings) {
			for i := range 4 {
				r.packed(r.Desc, i, 0, 1, avail|next, 0)
			}
		},
		"readable after": func(r rings) { r.packed(r.Desc, 0, 0, 1, avail|next|write, 0); r.packed(r.Desc, 1, 0, 1, avail, 0) },
		"table and next": func(r rings) { r.packed(r.Desc, 0, tableAt, 16, avail|indirect|next, 0) },
		"table in a list": func(r rings) {
			r.packed(r.Desc, 0, 0, 1, avail|next, 0)
			r.packed(r.Desc, 1, tableAt, 16, avail|indirect, 0)
		},
		"table of 0":     func(r rings) { r.packed(r.Desc, 0, tableAt, 0, avail|indirect, 0) },
		"table too long": func(r rings) { r.packed(r.Desc, 0, 0, 16*1025, avail|indirect, 0) },
		"table outside":  func(r rings) { r.packed(r.Desc, 0, 0xffff, 16, avail|indirect, 0) },
		"table out of order": func(r rings) {
			r.packed(r.Desc, 0, tableAt, 32, avail|indirect, 0)
			r.packed(tableAt, 0, 0, 1, write, 0)
			r.packed(tableAt, 1, 0, 1, 0, 0)
		},
		"4 GiB in all": func(r rings) { r.packed(r.Desc, 0, 0, 1<<31, avail|next, 0); r.packed(r.Desc, 1, 0, 1<<31, avail, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRings(t, true, true)
			set(r)
			popFails(t, r)
		})
	}
}

func popFails(t *testing.T, r rings) {
	t.Helper()
	q, err := virtq.New(r.m, r.Config)
	if err != nil {
		t.Fatal(err)
	}
	var c virtq.Chain
	if ok, err := q.Pop(&c); ok || !errors.Is(err, virtq.ErrBroken) {
		t.Errorf("Pop() = %t, %v; want ErrBroken", ok, err)
	}
}

// TestMoreInFlightThanEntries: a driver that makes chains available again
// before they are used must not make the device queue them without end.
func TestMoreInFlightThanEntries(t *testing.T) {
	r := newRings(t, false, true)
	r.desc(r.Desc, 0, 0, 1, 0, 0)
	q, err := virtq.New(r.m, r.Config)
	if err != nil {
		t.Fatal(err)
	}
	var c virtq.Chain
	for i := range uint16(4) {
		r.available(i + 1)
		if ok, err := q.Pop(&c); !ok || err != nil {
			t.Fatalf("chain %d: %t, %v", i, ok, err)
		}
	}
	r.available(5)
	if ok, err := q.Pop(&c); ok || !errors.Is(err, virtq.ErrBroken) {
		t.Errorf("fifth chain in a ring of four: %t, %v", ok, err)
	}
}

func TestDescriptorsBeforeATable(t *testing.T) {
	r := newRings(t, false, true)
	r.desc(r.Desc, 2, 0x100, 1, next, 3)
	r.desc(r.Desc, 3, tableAt, 32, indirect|write, 0) // WRITE is ignored here (2.7.5.3.2)
	r.desc(tableAt, 0, 0x200, 2, next, 1)
	r.desc(tableAt, 1, 0x300, 3, write, 0)
	r.available(1, 2)
	q, err := virtq.New(r.m, r.Config)
	if err != nil {
		t.Fatal(err)
	}
	var c virtq.Chain
	if ok, err := q.Pop(&c); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if len(c.Readable) != 2 || c.ReadableLen() != 3 || len(c.Writable) != 1 || c.Writable[0] != (virtq.Span{GPA: 0x300, Len: 3}) {
		t.Errorf("chain %v %v", c.Readable, c.Writable)
	}
}

func TestBadSetups(t *testing.T) {
	good := virtq.Config{Size: 8, Desc: 0x1000, Driver: 0x2000, Device: 0x3000}
	for name, change := range map[string]func(c *virtq.Config){
		"size 0":                 func(c *virtq.Config) { c.Size = 0 },
		"size 6":                 func(c *virtq.Config) { c.Size = 6 },
		"too large":              func(c *virtq.Config) { c.Size, c.Packed = 32769, true },
		"packed size 0":          func(c *virtq.Config) { c.Size, c.Packed = 0, true },
		"table off by 8":         func(c *virtq.Config) { c.Desc += 8 },
		"driver area odd":        func(c *virtq.Config) { c.Driver++ },
		"device area off by 2":   func(c *virtq.Config) { c.Device += 2 },
		"packed driver off by 2": func(c *virtq.Config) { c.Driver, c.Packed = 0x2002, true },
		"table outside":          func(c *virtq.Config) { c.Desc = 0xfff0 },
		"driver area outside":    func(c *virtq.Config) { c.Driver = 0x10000 },
		"device area wraps":      func(c *virtq.Config) { c.Device = ^layout.GPA(3) },
		"packed device outside":  func(c *virtq.Config) { c.Device, c.Packed = 1<<52, true },
	} {
		m := virtiotest.RAM(t, 64<<10)
		c := good
		change(&c)
		if _, err := virtq.New(m, c); !errors.Is(err, virtq.ErrBroken) {
			t.Errorf("%s: %v, want ErrBroken", name, err)
		}
	}
}

func TestChainViews(t *testing.T) {
	r := newRings(t, false, true)
	r.desc(r.Desc, 0, 0x100, 10, next, 1)
	r.desc(r.Desc, 1, 0xfffc, 8, next, 2) // half of it outside RAM
	r.desc(r.Desc, 2, 0x200, 5, write, 0)
	r.available(1, 0)
	q, err := virtq.New(r.m, r.Config)
	if err != nil {
		t.Fatal(err)
	}
	var c virtq.Chain
	if ok, err := q.Pop(&c); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if v, err := c.AppendReadable(nil, 4, 10); err != nil || len(v) != 2 || len(v[0]) != 6 || len(v[1]) != 4 {
		t.Errorf("10 bytes from 4 on: %d views, %v", len(v), err)
	}
	if _, err := c.AppendReadable(nil, 4, 11); !errors.Is(err, memory.ErrOutside) {
		t.Errorf("a byte outside RAM: %v", err)
	}
	if _, err := c.AppendReadable(nil, 18, 1); !errors.Is(err, virtq.ErrBroken) {
		t.Errorf("past the readable part: %v", err)
	}
	if err := c.Store(3, []byte{1, 2, 3}); !errors.Is(err, virtq.ErrBroken) {
		t.Errorf("store past the writable part: %v", err)
	}
	if err := c.Load(8, make([]byte, 7)); !errors.Is(err, memory.ErrOutside) {
		t.Errorf("load outside RAM: %v", err)
	}
	p := []byte{1, 2, 3, 4}
	if err := c.Store(1, p); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if err := r.m.ReadAt(got, 0x200); err != nil || string(got) != "\x00\x01\x02\x03\x04" {
		t.Errorf("writable part is %v, %v", got, err)
	}
}
