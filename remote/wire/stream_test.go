package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/transport"
)

// chopped is a Receiver that gives its bytes in pieces, with pauses of the
// peer in between.
type chopped struct {
	data  []byte
	piece func() int // length of the next piece; 0: patience ends
	end   error
	calls int
}

func (c *chopped) Recv(v *transport.Vec) (int, error) {
	c.calls++
	if len(c.data) == 0 {
		return 0, c.end
	}
	n := min(c.piece(), len(c.data), v.Len())
	if n == 0 {
		return 0, transport.ErrPatience
	}
	moved := n
	for n > 0 {
		k := copy(v.Front(), c.data[:n])
		c.data = c.data[k:]
		v.Consume(k)
		n -= k
	}
	return moved, nil
}

func (c *chopped) TryRecv(v *transport.Vec) (int, error) {
	n, err := c.Recv(v)
	if errors.Is(err, transport.ErrPatience) {
		return 0, transport.ErrWouldBlock
	}
	return n, err
}

// message appends a message with a body of n bytes that count up from its id.
func message(to []byte, op Op, id uint32, n int) []byte {
	h := Header{Op: op, ID: id, Length: uint32(n)}
	to = append(to, make([]byte, HeaderSize)...)
	h.Encode(to[len(to)-HeaderSize:])
	for i := range n {
		to = append(to, byte(int(id)+i))
	}
	return to
}

func wantBytes(t *testing.T, id uint32, from int, got []byte) {
	t.Helper()
	for i, b := range got {
		if want := byte(int(id) + from + i); b != want {
			t.Fatalf("message %d, byte %d: got %d, want %d", id, from+i, b, want)
		}
	}
}

// Messages with all shapes of bodies arrive whole however the stream is chopped
// and whatever is read ahead.
func TestStreamChopped(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		var data []byte
		type part struct{ take, fill, skip int }
		var parts []part
		for id := range 30 {
			p := part{}
			if rng.IntN(2) == 0 {
				p.take = rng.IntN(MaxMeta)
			}
			if rng.IntN(2) == 0 {
				p.fill = rng.IntN(5) * remote.LineSize
			}
			if rng.IntN(3) == 0 {
				p.skip = rng.IntN(40000)
			}
			parts = append(parts, p)
			data = message(data, Write, uint32(id), p.take+p.fill+p.skip)
		}
		most := 1 + rng.IntN(20000)
		c := &chopped{data: data, piece: func() int { return rng.IntN(most + 1) }, end: io.EOF}
		s := NewStream(c, StreamConfig{Ahead: rng.IntN(4 * MaxMeta)})
		for id, p := range parts {
			s.SetAhead(rng.IntN(s.most + 100))
			if rng.IntN(2) == 0 {
				s.cfg.Dry = func() error { return nil }
				s.SetPending()
			}
			var h Header
			if err := s.Next(&h); err != nil || h.ID != uint32(id) {
				t.Fatalf("round %d message %d: %+v, %v", round, id, h, err)
			}
			b, err := s.Take(p.take)
			if err != nil {
				t.Fatal(err)
			}
			wantBytes(t, h.ID, 0, b)
			var mem [][]byte
			for range p.fill / remote.LineSize {
				mem = append(mem, make([]byte, remote.LineSize))
			}
			if err := s.Fill(mem); err != nil {
				t.Fatal(err)
			}
			for i, m := range mem {
				wantBytes(t, h.ID, p.take+i*remote.LineSize, m)
			}
			if err := s.Skip(p.skip); err != nil {
				t.Fatal(err)
			}
		}
		var h Header
		if err := s.Next(&h); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
	}
}

// A payload that arrives after its header is not touched by Go code.
func TestStreamReceivesStraight(t *testing.T) {
	data := message(nil, Read.Answer(), 1, 4*remote.LineSize)
	data = message(data, Read.Answer(), 2, 0)
	c := &chopped{data: data, piece: func() int { return 1 << 30 }, end: io.EOF}
	s := NewStream(c, StreamConfig{})
	s.SetAhead(MinAhead)
	var h Header
	if err := s.Next(&h); err != nil {
		t.Fatal(err)
	}
	if s.Buffered() != 0 {
		t.Errorf("%d bytes of payload were read with the header", s.Buffered())
	}
	if err := s.Fill([][]byte{make([]byte, 4*remote.LineSize)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Next(&h); err != nil || h.ID != 2 {
		t.Fatal(h.ID, err)
	}
	if c.calls != 2 {
		t.Errorf("%d receives for two messages, want 2: the second header comes with the first payload", c.calls)
	}
}

func TestStreamEnds(t *testing.T) {
	whole := message(nil, Write, 1, 100)
	for cut := range len(whole) {
		c := &chopped{data: whole[:cut], piece: func() int { return 7 }, end: io.EOF}
		s := NewStream(c, StreamConfig{})
		var h Header
		err := s.Next(&h)
		if err == nil {
			_, err = s.Take(100)
		}
		want := io.ErrUnexpectedEOF
		if cut == 0 {
			want = io.EOF
		}
		if err != want {
			t.Errorf("cut after %d bytes: %v, want %v", cut, err, want)
		}
	}
}

// A peer that stops, or trickles, in the middle of a message is given up; one
// that says nothing between two messages is not.
func TestStreamSlowPeer(t *testing.T) {
	for _, c := range []struct {
		name  string
		sent  int
		piece func() int
	}{
		{"stops in the header", 10, func() int { return 10 }},
		{"stops in the body", HeaderSize + 10, func() int { return 100 }},
		{"trickles", HeaderSize + 100, func() int { time.Sleep(time.Millisecond); return 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := message(nil, Write, 1, 100)[:c.sent]
			r := &chopped{data: data, piece: c.piece, end: transport.ErrPatience}
			s := NewStream(r, StreamConfig{Limit: 20 * time.Millisecond})
			var h Header
			err := s.Next(&h)
			if err == nil {
				_, err = s.Take(100)
			}
			if !errors.Is(err, ErrSlow) {
				t.Errorf("got %v", err)
			}
		})
	}
	idle := 0
	stop := errors.New("enough")
	s := NewStream(&chopped{end: transport.ErrPatience}, StreamConfig{Limit: time.Nanosecond, Idle: func() error {
		if idle++; idle == 1000 {
			return stop
		}
		return nil
	}})
	var h Header
	if err := s.Next(&h); err != stop {
		t.Errorf("idle peer: %v", err)
	}
}

// What is pending is sent before waiting, not while there is input.
func TestStreamDry(t *testing.T) {
	flushed := 0
	pieces := []int{HeaderSize, HeaderSize, 0, HeaderSize}
	c := &chopped{end: io.EOF, piece: func() int {
		n := pieces[0]
		pieces = pieces[1:]
		return n
	}}
	for id := range 3 {
		c.data = message(c.data, Ping, uint32(id), 0)
	}
	s := NewStream(c, StreamConfig{Dry: func() error { flushed++; return nil }})
	for id, want := range []int{0, 0, 1} {
		if id > 0 {
			s.SetPending()
		}
		var h Header
		if err := s.Next(&h); err != nil {
			t.Fatal(err)
		}
		if flushed != want {
			t.Errorf("after message %d: flushed %d times, want %d", id, flushed, want)
		}
	}
}

// FuzzStream gives a server's way of reading arbitrary bytes in arbitrary
// pieces: it may return errors, and nothing else.
func FuzzStream(f *testing.F) {
	// Small ones: the fuzzer spends its time on shrinking large ones.
	f.Add(message(message(nil, Write, 1, 40), Read, 2, 0), uint16(100))
	f.Add(message(nil, Stats, 1, 100), uint16(1))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: somewhere\r\n\r\nand some more to fill a header"), uint16(9))
	f.Fuzz(func(t *testing.T, data []byte, most uint16) {
		n := 0
		piece := func() int {
			if n++; n%3 == 0 {
				return 0 // the peer pauses
			}
			return 1 + (n*7919)%(int(most)+1)
		}
		s := NewStream(&chopped{data: data, piece: piece, end: io.EOF}, StreamConfig{Limit: time.Hour})
		mem := [][]byte{make([]byte, 17), make([]byte, 15)}
		consumed := 0
		for {
			s.SetAhead(n % MaxMeta)
			var h Header
			if s.Next(&h) != nil {
				return
			}
			meta, err := h.RunBytes()
			if err != nil {
				return
			}
			if _, err := s.Take(meta); err != nil {
				return
			}
			rest := int(h.Length) - meta
			if rest >= 32 {
				if s.Fill(mem) != nil {
					return
				}
				rest -= 32
			}
			if s.Skip(rest) != nil {
				return
			}
			if consumed += HeaderSize + int(h.Length); consumed > len(data) {
				t.Fatalf("consumed %d of %d bytes", consumed, len(data))
			}
		}
	})
}

func TestFillKeepsWhatFollows(t *testing.T) {
	data := message(nil, Write, 1, remote.LineSize)
	data = message(data, Ping, 2, 0)
	c := &chopped{data: bytes.Clone(data), piece: func() int { return 1 << 30 }, end: io.EOF}
	s := NewStream(c, StreamConfig{})
	var h Header
	if err := s.Next(&h); err != nil {
		t.Fatal(err)
	}
	mem := make([]byte, remote.LineSize)
	if err := s.Fill([][]byte{mem}); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, 1, 0, mem)
	if err := s.Next(&h); err != nil || h.ID != 2 {
		t.Fatalf("the message behind: %+v, %v", h, err)
	}
}
