package block_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

func segment(sector uint64, sectors, flags uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint32(b, sectors)
	return binary.LittleEndian.AppendUint32(b, flags)
}

// TestOutcomes is every request that is a request, on a disk of 100 sectors
// and half a one.
func TestOutcomes(t *testing.T) {
	const ok, ioErr, unsupp = 0, 1, 2
	backend := newRemote(t, 100*512+256)
	readOnly := newRemote(t, 100*512)
	readOnly.info.ReadOnly = true
	plain := newRemote(t, 100*512)
	plain.info.Discard, plain.info.WriteZeroes = false, false
	sector := make([]byte, 512)
	for name, c := range map[string]struct {
		on   *remote
		out  []byte
		in   int
		want byte
	}{
		"read":                       {backend, request(typeIn, 0), 513, ok},
		"read the last sectors":      {backend, request(typeIn, 98), 1025, ok},
		"read past the end":          {backend, request(typeIn, 99), 1025, ioErr},
		"read the half sector":       {backend, request(typeIn, 100), 513, ioErr},
		"read at the end of numbers": {backend, request(typeIn, 1<<64-1), 513, ioErr},
		"read where bytes overflow":  {backend, request(typeIn, 1<<55), 513, ioErr},
		"read no whole sector":       {backend, request(typeIn, 0), 512, ioErr},
		"read nothing":               {backend, request(typeIn, 0), 1, ioErr},
		"write":                      {backend, request(typeOut, 99, sector...), 1, ok},
		"write past the end":         {backend, request(typeOut, 100, sector...), 1, ioErr},
		"write no whole sector":      {backend, request(typeOut, 0, sector[1:]...), 1, ioErr},
		"write nothing":              {backend, request(typeOut, 0), 1, ioErr},
		"write to a read-only disk":  {readOnly, request(typeOut, 0, sector...), 1, ioErr},
		"flush":                      {backend, request(typeFlush, 0), 1, ok},
		"flush a read-only disk":     {readOnly, request(typeFlush, 0), 1, ok},
		"unknown":                    {backend, request(77, 0), 1, unsupp},
		"secure erase":               {backend, request(14, 0, segment(0, 1, 0)...), 1, unsupp},
		"discard":                    {backend, request(typeDiscard, 0, segment(0, 100, 0)...), 1, ok},
		"discard past the end":       {backend, request(typeDiscard, 0, segment(1, 100, 0)...), 1, ioErr},
		"discard around":             {backend, request(typeDiscard, 0, segment(1<<64-1, 2, 0)...), 1, ioErr},
		"discard nothing":            {backend, request(typeDiscard, 0, segment(0, 0, 0)...), 1, ioErr},
		"discard with UNMAP":         {backend, request(typeDiscard, 0, segment(0, 1, 1)...), 1, unsupp},
		"discard two segments":       {backend, request(typeDiscard, 0, append(segment(0, 1, 0), segment(0, 1, 0)...)...), 1, ioErr},
		"discard half a segment":     {backend, request(typeDiscard, 0, segment(0, 1, 0)[:8]...), 1, ioErr},
		"discard read-only":          {readOnly, request(typeDiscard, 0, segment(0, 1, 0)...), 1, ioErr},
		"discard not offered":        {plain, request(typeDiscard, 0, segment(0, 1, 0)...), 1, unsupp},
		"write zeroes":               {backend, request(typeWriteZeroes, 0, segment(0, 1, 0)...), 1, ok},
		"write zeroes with UNMAP":    {backend, request(typeWriteZeroes, 0, segment(0, 1, 1)...), 1, ok},
		"write zeroes, other flags":  {backend, request(typeWriteZeroes, 0, segment(0, 1, 2)...), 1, unsupp},
		"write zeroes not offered":   {plain, request(typeWriteZeroes, 0, segment(0, 1, 0)...), 1, unsupp},
		"id":                         {backend, request(typeGetID, 0), 21, ok},
		"id, short":                  {backend, request(typeGetID, 0), 3, ok},
		"id, long":                   {backend, request(typeGetID, 0), 100, ok},
	} {
		t.Run(name, func(t *testing.T) {
			m := virtiotest.Start(t, newDevice(t, block.Config{Backend: c.on, Serial: "serial"}), virtiotest.Options{}, 0)
			b := m.Queues[0].Do(c.out, c.in)
			if len(b) != c.in || b[c.in-1] != c.want {
				t.Errorf("status %d of %d bytes, want %d of %d", b[len(b)-1], len(b), c.want, c.in)
			}
		})
	}
}

// The counts are of what was done, at once or later.
func TestStats(t *testing.T) {
	backend, broken := newRemote(t, 100*512), newRemote(t, 512)
	dev := newDevice(t, block.Config{Backend: backend})
	m := virtiotest.Start(t, dev, virtiotest.Options{}, 0)
	for range 10 {
		m.Queues[0].Do(request(typeIn, 0), 1025)
		m.Queues[0].Do(request(typeOut, 0, make([]byte, 512)...), 1)
		m.Queues[0].Do(request(typeIn, 100), 513) // past the end
		m.Queues[0].Do(request(typeDiscard, 0, segment(0, 1, 0)...), 1)
		m.Queues[0].Do(request(typeFlush, 0), 1)
	}
	broken.fail = errors.New("broken")
	none := newDevice(t, block.Config{Backend: broken})
	virtiotest.Start(t, none, virtiotest.Options{}, 0).Queues[0].Do(request(typeIn, 0), 513)
	if got := none.Stats(); got != (block.Stats{}) {
		t.Errorf("counted %+v of what failed", got)
	}
	if got, want := dev.Stats(), (block.Stats{Read: 10 * 1024, Written: 10 * 512}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestID(t *testing.T) {
	serial := "12345678901234567890"
	m := virtiotest.Start(t, newDevice(t, block.Config{Backend: newRemote(t, 4096), Serial: serial}), virtiotest.Options{}, 0)
	if b := m.Queues[0].Do(request(typeGetID, 0), 21); string(b) != serial+"\x00" {
		t.Errorf("id is %q", b)
	}
	if b := m.Queues[0].Do(request(typeGetID, 0), 5); string(b) != serial[:4]+"\x00" {
		t.Errorf("short id is %q", b)
	}
}

// TestAnyFraming cuts the same write into buffers in every way: the device
// may not care (virtio 1.2, 2.7.4.1).
func TestAnyFraming(t *testing.T) {
	backend := newRemote(t, 4096)
	m := virtiotest.Start(t, newDevice(t, block.Config{Backend: backend}), virtiotest.Options{EventIdx: true, Indirect: true}, 0)
	at := m.Alloc(4096)
	data := bytes.Repeat([]byte{0x5a}, 512)
	for _, cut := range []uint32{1, 2, 3, 8, 15, 16, 17, 100, 511, 512, 527} {
		if err := m.Memory.WriteAt(request(typeOut, uint64(cut%8), data...), at); err != nil {
			t.Fatal(err)
		}
		var spans []virtq.Span
		for off := uint32(0); off < 528; off += cut {
			spans = append(spans, virtq.Span{GPA: at + layout.GPA(off), Len: min(cut, 528-off)})
		}
		if len(spans) > 200 {
			spans = append(spans[:200], virtq.Span{GPA: at + layout.GPA(200*cut), Len: 528 - 200*cut})
		}
		if _, ok := m.Queues[0].Add(spans, []virtq.Span{{GPA: at + 1024, Len: 1}}); !ok {
			t.Fatal("ring is full")
		}
		m.Queues[0].Kick()
		m.Queues[0].Wait()
		if status, err := m.Memory.Load8(at + 1024); status != 0 || err != nil {
			t.Errorf("buffers of %d bytes: status %d", cut, status)
		}
		if b := m.Queues[0].Do(request(typeIn, uint64(cut%8)), 513); !bytes.Equal(b[:512], data) {
			t.Errorf("buffers of %d bytes: the disk has something else", cut)
		}
	}
}

// TestNoRequests: a chain without room for a header or a status stops the
// device. A request whose payload alone is impossible doesn't.
func TestNoRequests(t *testing.T) {
	for name, c := range map[string]struct {
		out, in []virtq.Span
		fails   bool
	}{
		"no header":           {nil, []virtq.Span{{GPA: 0x3000000, Len: 1}}, true},
		"short header":        {[]virtq.Span{{GPA: 0x3000000, Len: 15}}, []virtq.Span{{GPA: 0x3000000, Len: 1}}, true},
		"no status":           {[]virtq.Span{{GPA: 0x3000000, Len: 16}}, nil, true},
		"header outside RAM":  {[]virtq.Span{{GPA: 1 << 40, Len: 16}}, []virtq.Span{{GPA: 0x3000000, Len: 1}}, true},
		"status outside RAM":  {[]virtq.Span{{GPA: 0x3000000, Len: 16}}, []virtq.Span{{GPA: 1 << 40, Len: 1}}, true},
		"payload outside RAM": {[]virtq.Span{{GPA: 0x3000000, Len: 16}}, []virtq.Span{{GPA: 1 << 40, Len: 512}, {GPA: 0x3001000, Len: 1}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := virtiotest.Start(t, newDevice(t, block.Config{Backend: newRemote(t, 4096)}), virtiotest.Options{}, 0)
			m.Queues[0].Add(c.out, c.in)
			m.Queues[0].Kick()
			if !c.fails {
				m.Queues[0].Wait()
				if status, _ := m.Memory.Load8(0x3001000); status != 1 {
					t.Errorf("status %d, want 1", status)
				}
				return
			}
			select {
			case <-m.Failed:
			case <-time.After(virtiotest.Patience):
				t.Error("the device doesn't ask for a reset")
			}
		})
	}
}

func TestConfig(t *testing.T) {
	backend := newRemote(t, 8<<20)
	backend.info.BlockSize, backend.info.PhysicalBlock = 512, 4096
	dev := newDevice(t, block.Config{Backend: backend, Queues: 3, QueueSize: 64})
	c := make([]byte, dev.Describe().ConfigSize)
	dev.ReadConfig(c)
	le := binary.LittleEndian
	for name, v := range map[string][2]uint64{
		"capacity":    {le.Uint64(c), 8 << 20 / 512},
		"seg_max":     {uint64(le.Uint32(c[12:])), 62},
		"blk_size":    {uint64(le.Uint32(c[20:])), 512},
		"physical":    {uint64(c[24]), 3},
		"writeback":   {uint64(c[32]), 1},
		"num_queues":  {uint64(le.Uint16(c[34:])), 3},
		"discard seg": {uint64(le.Uint32(c[40:])), 1},
	} {
		if v[0] != v[1] {
			t.Errorf("%s is %d, want %d", name, v[0], v[1])
		}
	}
	dev.WriteConfig(32, []byte{0})
	dev.WriteConfig(0, []byte{1, 2, 3, 4})
	dev.WriteConfig(31, []byte{9, 9})
	after := make([]byte, len(c))
	dev.ReadConfig(after)
	c[32] = 0
	if !bytes.Equal(after, c) {
		t.Error("a driver can change more than the cache mode")
	}
}

func TestFeatureBits(t *testing.T) {
	const ro, wce, discard, zeroes = virtio.Features(1 << 5), virtio.Features(1 << 11), virtio.Features(1 << 13), virtio.Features(1 << 14)
	all := ro | wce | discard | zeroes
	for name, c := range map[string]struct {
		change func(*block.Info)
		want   virtio.Features
	}{
		"full":      {func(*block.Info) {}, wce | discard | zeroes},
		"read-only": {func(i *block.Info) { i.ReadOnly = true }, ro},
		"plain":     {func(i *block.Info) { i.Discard, i.WriteZeroes = false, false }, wce},
	} {
		backend := newRemote(t, 4096)
		c.change(&backend.info)
		if f := newDevice(t, block.Config{Backend: backend}).Describe().Features; f&all != c.want {
			t.Errorf("%s: features %#x, want %#x", name, f&all, c.want)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	for name, c := range map[string]block.Config{
		"queues":      {Queues: 257},
		"negative":    {Queues: -1},
		"queue size":  {QueueSize: 100},
		"small queue": {QueueSize: 2},
		"serial":      {Serial: "123456789012345678901"},
	} {
		c.Backend = newRemote(t, 4096)
		if _, err := block.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
