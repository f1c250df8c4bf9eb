package virtq_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/fuzzinput"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

const (
	fuzzRAM = 16 << 10
	fuzzOps = 200
)

// FuzzSplit and FuzzPacked give a queue a guest memory and a sequence of
// operations, with the guest's writes between them, from the input. Whatever
// comes: no panic, no endless loop, chains as promised, and no byte written
// but in the device's own area.
func FuzzSplit(f *testing.F)  { fuzz(f, false) }
func FuzzPacked(f *testing.F) { fuzz(f, true) }

func fuzz(f *testing.F, packed bool) {
	f.Add(seedInput(packed, 0))
	f.Add(seedInput(packed, 1))
	f.Add([]byte{})
	m := virtiotest.RAM(f, fuzzRAM)
	f.Fuzz(func(t *testing.T, input []byte) {
		in := reader{fuzzinput.New(input)}
		c := virtq.Config{
			Size:   1 << (in.Byte() % 6),
			Desc:   0x1000,
			Driver: 0x2000,
			Device: 0x3000,
			Packed: packed,
		}
		flags := in.Byte()
		c.EventIdx, c.Indirect = flags&1 != 0, flags&2 != 0
		if packed && flags&4 != 0 {
			c.Size = uint16(in.Byte())
		}
		if flags&8 != 0 { // anywhere
			c.Desc, c.Driver, c.Device = layout.GPA(in.ringWord()), layout.GPA(in.ringWord()), layout.GPA(in.ringWord())
		}
		ram := make([]byte, fuzzRAM)
		in.fill(ram[0x1000:0x1000+16*40], ram[0x2000:0x2100], ram[0x0800:0x0900])
		if err := m.WriteAt(ram, 0); err != nil {
			t.Fatal(err)
		}
		q, err := virtq.New(m, c)
		if err != nil {
			if !errors.Is(err, virtq.ErrBroken) {
				t.Fatalf("New(%+v): %v is not ErrBroken", c, err)
			}
			return
		}
		(&session{t: t, in: in, m: m, c: c, q: q, ram: ram}).run()
	})
}

// session is one input's operations on a queue.
type session struct {
	t     *testing.T
	in    reader
	m     *memory.Memory
	c     virtq.Config
	q     *virtq.Queue
	ram   []byte // what RAM should hold but for the device's areas
	chain virtq.Chain
	open  []virtq.Chain
}

func (s *session) run() {
	for range fuzzOps {
		if !s.step() {
			break
		}
	}
	s.checkRAM()
}

func (s *session) step() bool {
	switch s.in.Byte() % 8 {
	case 0, 1:
		return s.pop()
	case 2:
		if n := len(s.open); n > 0 {
			s.q.Push(&s.open[n-1], uint32(s.in.ringWord()))
			s.open = s.open[:n-1]
		}
	case 3:
		s.q.NeedsInterrupt()
	case 4:
		s.q.DisableKicks()
	case 5:
		_, err := s.q.EnableKicks()
		return s.fine(err)
	default:
		s.guestWrites()
	}
	return s.in.Len() > 0
}

func (s *session) pop() bool {
	ok, err := s.q.Pop(&s.chain)
	if !s.fine(err) || !ok {
		return err == nil && s.in.Len() > 0
	}
	s.checkChain()
	s.open = append(s.open, s.chain)
	s.chain = virtq.Chain{}
	return true
}

func (s *session) fine(err error) bool {
	if err != nil && !errors.Is(err, virtq.ErrBroken) {
		s.t.Fatalf("%v is not ErrBroken", err)
	}
	return err == nil
}

func (s *session) checkChain() {
	var total uint64
	for _, spans := range [][]virtq.Span{s.chain.Readable, s.chain.Writable} {
		for _, span := range spans {
			if span.Len == 0 {
				s.t.Fatal("an empty span")
			}
			total += uint64(span.Len)
		}
	}
	if total != uint64(s.chain.ReadableLen())+uint64(s.chain.WritableLen()) || total >= 1<<32 {
		s.t.Fatalf("chain of %d bytes says %d and %d", total, s.chain.ReadableLen(), s.chain.WritableLen())
	}
	if n := len(s.chain.Readable) + len(s.chain.Writable); n > int(s.c.Size)+1024 {
		s.t.Fatalf("chain of %d spans", n)
	}
	if len(s.open) >= int(s.c.Size) {
		s.t.Fatalf("%d chains in flight in a ring of %d", len(s.open)+1, s.c.Size)
	}
	var head [16]byte
	_ = s.chain.Load(uint32(s.in.Byte()), head[:])
	if views, err := s.chain.AppendWritable(nil, uint32(s.in.Byte()), uint32(s.in.Byte())); err == nil {
		for _, v := range views {
			if len(v) == 0 || len(v) > fuzzRAM {
				s.t.Fatalf("a view of %d bytes", len(v))
			}
		}
	}
}

// guestWrites changes a word where it matters.
func (s *session) guestWrites() {
	places := []layout.GPA{s.c.Desc, s.c.Driver, s.c.Device, 0x800}
	at := places[s.in.Byte()%4] + layout.GPA(s.in.Byte())*2
	if v := uint16(s.in.ringWord()); s.m.Store16(at&^1, v) == nil {
		binary.LittleEndian.PutUint16(s.ram[at&^1:], v)
	}
}

// checkRAM fails if anything but the used ring, or the packed ring and the
// device's event suppression, is not as the guest left it.
func (s *session) checkRAM() {
	got := make([]byte, fuzzRAM)
	if err := s.m.ReadAt(got, 0); err != nil {
		s.t.Fatal(err)
	}
	own := []layout.Range{{Start: s.c.Device, Size: 6 + 8*uint64(s.c.Size)}}
	if s.c.Packed {
		own = []layout.Range{{Start: s.c.Device, Size: 4}, {Start: s.c.Desc, Size: 16 * uint64(s.c.Size)}}
	}
	for _, r := range own {
		copy(got[r.Start:r.End()], s.ram[r.Start:r.End()])
	}
	if !bytes.Equal(got, s.ram) {
		s.t.Fatalf("the device wrote outside its area (%+v)", s.c)
	}
}

// reader takes a ring's memory and a device's choices out of the input.
type reader struct{ *fuzzinput.Reader }

// ringWord is a little-endian word, of two bytes unless the first bit is set.
func (r reader) ringWord() uint64 {
	var v uint64
	for i := range 8 {
		v |= uint64(r.Byte()) << (8 * i)
		if i == 1 && v&0x8000 == 0 { // mostly small ones
			return v
		}
	}
	return v
}

func (r reader) fill(to ...[]byte) {
	for _, p := range to {
		copy(p, r.Take(min(int(r.Byte())*4, len(p))))
	}
}

// seedInput is a valid ring of 4 with two chains, one of them indirect in
// variant 1, and a device that works.
func seedInput(packed bool, variant int) []byte {
	in := []byte{2, 3, 16}
	flags := []uint64{1, 2}
	desc := func(addr, n, flag, x uint64) {
		in = binary.LittleEndian.AppendUint64(in, addr)
		if packed {
			in = binary.LittleEndian.AppendUint64(in, n|x<<32|(flag|1<<7)<<48)
		} else {
			in = binary.LittleEndian.AppendUint64(in, n|flag<<32|x<<48)
		}
	}
	desc(0x100, 16, flags[0], 1)
	desc(0x200, 64, flags[1], 7)
	if variant == 1 {
		desc(0x800, 32, 4, 0)
	} else {
		desc(0x300, 5, 2, 0)
	}
	desc(0, 0, 0, 0)
	in = append(in, 4, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0) // avail ring
	in = append(in, 8)
	desc(0x400, 1, 1, 1)
	desc(0x500, 1, 2, 0)
	return append(in, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9, 0, 2, 8, 0, 3, 5, 6, 1, 1, 3, 0, 0, 4, 5)
}
