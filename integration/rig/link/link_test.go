package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestFrames(t *testing.T) {
	frames := []Frame{
		{Hello, 0, []byte(`{"Kernel":"6.12"}`)},
		{Beat, 0, []byte{}},
		{Stdout, 1<<32 - 1, bytes.Repeat([]byte{0x52, 0x4C}, MaxPayload/2)},
		{PowerOff, 7, []byte{0}},
	}
	var stream bytes.Buffer
	w := NewWriter(&stream)
	for _, f := range frames {
		if err := w.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(iotest.OneByteReader(&stream))
	for _, want := range frames {
		got, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestSendTooLong(t *testing.T) {
	var stream bytes.Buffer
	if err := NewWriter(&stream).Send(Frame{Stdout, 1, make([]byte, MaxPayload+1)}); err == nil || stream.Len() != 0 {
		t.Errorf("%v and %d bytes, want an error and none", err, stream.Len())
	}
}

func TestStream(t *testing.T) {
	var stream bytes.Buffer
	text := bytes.Repeat([]byte("0123456789"), MaxPayload/4)
	if n, err := NewWriter(&stream).Stream(Stderr, 3).Write(text); n != len(text) || err != nil {
		t.Fatalf("%d, %v; want %d", n, err, len(text))
	}
	var got []byte
	for r := NewReader(&stream); ; {
		f, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil || f.Kind != Stderr || f.Session != 3 {
			t.Fatalf("kind %d, session %d, %v", f.Kind, f.Session, err)
		}
		got = append(got, f.Payload...)
	}
	if !bytes.Equal(got, text) {
		t.Errorf("%d bytes came, %d were written", len(got), len(text))
	}
}

// Frames that several goroutines send stay whole.
func TestConcurrentSend(t *testing.T) {
	var stream bytes.Buffer
	w := NewWriter(&stream)
	var wg sync.WaitGroup
	for id := SessionID(1); id <= 8; id++ {
		wg.Go(func() {
			for n := range 50 {
				if err := w.Send(Frame{Stdout, id, bytes.Repeat([]byte{byte(id)}, n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	count := make(map[SessionID]int)
	for r := NewReader(&stream); ; {
		f, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := count[f.Session]; len(f.Payload) != n || bytes.Count(f.Payload, []byte{byte(f.Session)}) != n {
			t.Fatalf("session %d's frame %d is % x", f.Session, n, f.Payload)
		}
		count[f.Session]++
	}
	if len(count) != 8 {
		t.Errorf("%d sessions, want 8", len(count))
	}
}

func TestLostStep(t *testing.T) {
	var stream bytes.Buffer
	if err := NewWriter(&stream).Send(Frame{Stdout, 1, []byte("text")}); err != nil {
		t.Fatal(err)
	}
	good := stream.Bytes()
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, stream := range map[string][]byte{
		"shifted":      good[1:],
		"mark":         change(0, 'x'),
		"kind 0":       change(2, 0),
		"unknown kind": change(2, byte(maxKind)+1),
		"reserved":     change(3, 1),
		"length":       change(10, 0xFF),
	} {
		if _, err := NewReader(bytes.NewReader(stream)).Next(); !errors.Is(err, ErrStep) {
			t.Errorf("%s: %v, want %v", name, err, ErrStep)
		}
	}
	for n := 1; n < len(good); n++ {
		if _, err := NewReader(bytes.NewReader(good[:n])).Next(); err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d bytes: %v, want %v", n, err, io.ErrUnexpectedEOF)
		}
	}
}

func TestPayloads(t *testing.T) {
	if n, err := (Frame{Taken, 1, binary.LittleEndian.AppendUint32(nil, 77)}).Uint32(); n != 77 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := (Frame{Taken, 1, []byte{1, 2, 3}}).Uint32(); !errors.Is(err, ErrStep) {
		t.Errorf("a number of 3 bytes: %v", err)
	}
	var s Status
	if err := (Frame{Exit, 1, []byte("{")}).Decode(&s); !errors.Is(err, ErrStep) {
		t.Errorf("half an object: %v", err)
	}
}

// Whatever comes in, a reader gives frames within bounds or an error; what it
// gives, a writer writes as it came.
func FuzzReader(f *testing.F) {
	var stream bytes.Buffer
	w := NewWriter(&stream)
	for _, frame := range []Frame{{Hello, 0, []byte("{}")}, {Stdin, 1, nil}, {Stdout, 2, make([]byte, 300)}} {
		if err := w.Send(frame); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(stream.Bytes())
	f.Add(stream.Bytes()[5:])
	f.Fuzz(func(t *testing.T, data []byte) {
		var again bytes.Buffer
		r, w := NewReader(bytes.NewReader(data)), NewWriter(&again)
		for {
			frame, err := r.Next()
			if err != nil {
				break
			}
			if frame.Kind == 0 || frame.Kind > maxKind || len(frame.Payload) > MaxPayload {
				t.Fatalf("a frame of kind %d with %d bytes", frame.Kind, len(frame.Payload))
			}
			if err := w.Send(frame); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(data, again.Bytes()) {
			t.Fatal("frames are not written as they came")
		}
	})
}
