package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"splitvm/remote/network"
)

// pieces is a stream that comes n bytes at a time.
type pieces struct {
	rest []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	k := copy(b[:min(len(b), p.n)], p.rest)
	p.rest = p.rest[k:]
	return k, nil
}

// FuzzScan: what is taken out of a stream is what was put in, whatever pieces it comes
// in, and the rest of a stream is an error.
func FuzzScan(f *testing.F) {
	one := AppendFrame(nil, 3, make([]byte, MinFrame))
	two := AppendFrame(one, 1<<63, bytes.Repeat([]byte{7}, 1500))
	f.Add(one, uint16(1))
	f.Add(two, uint16(100))
	f.Add(two[:len(two)-1], uint16(5000))
	f.Add(header(nil, magicFrame, network.MaxFrame+1, 1), uint16(16))
	f.Add(header(nil, magicFrame, MinFrame-1, 1), uint16(16))
	f.Add(header(nil, magicFrame, 1<<32-1, 1), uint16(16))
	f.Add(Hello{1, 2}.Encode(), uint16(16))
	f.Fuzz(func(t *testing.T, stream []byte, n uint16) {
		var again []byte
		err := Scan(&pieces{bytes.Clone(stream), int(n) + 1}, func(from uint64, frame []byte) error {
			if len(frame) < MinFrame || len(frame) > network.MaxFrame || cap(frame) != len(frame) {
				t.Errorf("a frame of %d bytes, room for %d", len(frame), cap(frame))
			}
			again = AppendFrame(again, from, frame)
			clear(frame) // as it may be
			return nil
		})
		if !bytes.HasPrefix(stream, again) {
			t.Errorf("%x gives %x", stream, again)
		}
		if whole := len(again) == len(stream); whole != (err == nil) {
			t.Errorf("%d of %d bytes taken: %v", len(again), len(stream), err)
		}
	})
}

// FuzzHello: a hello that is taken is one that could have been sent.
func FuzzHello(f *testing.F) {
	f.Add(Hello{1, 2}.Encode())
	f.Add(make([]byte, HelloSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HelloSize {
			return // it is read whole
		}
		h, err := DecodeHello(b)
		if err == nil && !bytes.Equal(h.Encode(), b[:HelloSize]) {
			t.Errorf("%x is %+v", b, h)
		}
	})
}

// The largest frame comes whole.
func TestScanLargest(t *testing.T) {
	stream := AppendFrame(AppendFrame(nil, 1, make([]byte, network.MaxFrame)), 2, make([]byte, MinFrame))
	var got []int
	err := Scan(&pieces{stream, 4096}, func(_ uint64, frame []byte) error { got = append(got, len(frame)); return nil })
	if err != nil || len(got) != 2 || got[0] != network.MaxFrame || got[1] != MinFrame {
		t.Errorf("frames of %v bytes, %v", got, err)
	}
}

func TestScanEnds(t *testing.T) {
	one := AppendFrame(nil, 3, make([]byte, MinFrame))
	wrong := errors.New("wrong")
	if err := Scan(bytes.NewReader(one), func(uint64, []byte) error { return wrong }); err != wrong {
		t.Errorf("%v, want what take returned", err)
	}
	if err := Scan(io.MultiReader(bytes.NewReader(one), iotest.ErrReader(wrong)), func(uint64, []byte) error { return nil }); err != wrong {
		t.Errorf("%v, want what the stream returned", err)
	}
}
