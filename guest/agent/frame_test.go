package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/init/cmdline"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	big := bytes.Repeat([]byte("x"), MaxPayload+1)
	if _, err := w.Stream(Stdout).Write(big); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(StdinEnd, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(Stdout, big); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long a frame: %v", err)
	}
	whole := b.Len()
	r := NewReader(&b)
	for _, want := range []struct {
		t Type
		n int
	}{{Stdout, MaxPayload}, {Stdout, 1}, {StdinEnd, 0}} {
		if typ, p, err := r.Next(); typ != want.t || len(p) != want.n || err != nil {
			t.Errorf("type %d, %d bytes, %v; want %v", typ, len(p), err, want)
		}
	}
	if _, _, err := r.Next(); err != io.EOF {
		t.Errorf("end after %d bytes: %v", whole, err)
	}
}

func TestRequestRoundTrip(t *testing.T) {
	for _, r := range []Request{
		{Exec: &cmdline.Command{Argv: []string{"ls", "-l"}, Env: []string{"A=1"}, Cwd: "/tmp", User: "x:y", TTY: true}, Size: Size{80, 24}},
		{Put: "/a"}, {Get: "/b"},
	} {
		p, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRequest(p)
		r.Version = Version
		if d := cmp.Diff(r, got); d != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
	}
	for _, bad := range []Request{{}, {Put: "/a", Get: "/b"}, {Exec: &cmdline.Command{}}} {
		if p, err := bad.Encode(); err == nil {
			t.Errorf("%+v: %s", bad, p)
		}
	}
	if _, err := ParseRequest([]byte(`{"v":2,"get":"/"}`)); err == nil {
		t.Error("a request of another version")
	}
}

// FuzzGuest has a guest say anything to Run, which ends and writes no more than
// was sent.
func FuzzGuest(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, frame := range []struct {
		t Type
		p []byte
	}{{Started, nil}, {Stdout, []byte("out")}, {Taken, []byte{1, 0, 0, 0}}, {Exited, []byte{3, 0}}} {
		w.Send(frame.t, frame.p)
	}
	f.Add(b.Bytes())
	f.Add((&Failure{127, "no"}).Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		var out bytes.Buffer
		st, err := Run(context.Background(), &scripted{Reader: bytes.NewReader(p)}, Request{Get: "/x"}, Streams{In: bytes.NewReader([]byte("in")), Out: &out, Err: &out})
		if out.Len() > len(p) || err != nil && st != (Status{}) {
			t.Errorf("%v, %v, %d bytes of output", st, err, out.Len())
		}
	})
}

// FuzzHost has a host say anything to who parses requests, sizes and frames.
func FuzzHost(f *testing.F) {
	f.Add([]byte(`{"v":1,"get":"/"}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, err := ParseRequest(p); err == nil {
			if _, err := r.Encode(); err != nil && len(p) <= MaxPayload/6 {
				t.Errorf("%s is parsed and can't be made: %v", p, err)
			}
		}
		r, n := NewReader(bytes.NewReader(p)), 0
		for {
			_, q, err := r.Next()
			if err != nil {
				break
			}
			n += headerSize + len(q)
		}
		if n > len(p) {
			t.Errorf("%d bytes of frames in %d", n, len(p))
		}
	})
}

// scripted is a connection on which the guest has said everything already.
type scripted struct{ io.Reader }

func (*scripted) Write(p []byte) (int, error) { return len(p), nil }
func (*scripted) Close() error                { return nil }

// TestWindow: no more input is under way than the guest has room for.
func TestWindow(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	input := bytes.Repeat([]byte("y"), 3*Window)
	done := make(chan error, 1)
	go func() {
		st, err := Run(t.Context(), host, Request{Put: "/x"}, Streams{In: bytes.NewReader(input)})
		if err == nil && st.Code != 9 {
			err = errors.New("wrong status")
		}
		done <- err
	}()
	r, w := NewReader(guest), NewWriter(guest)
	if typ, _, err := r.Next(); typ != Start || err != nil {
		t.Fatal(typ, err)
	}
	w.Send(Started, nil)
	total, held := 0, 0
	for {
		typ, p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if typ == StdinEnd {
			break
		}
		total, held = total+len(p), held+len(p)
		if held > Window {
			t.Fatalf("%d bytes under way", held)
		}
		if held == Window {
			w.Send(Taken, []byte{0, 0, 4, 0}) // all of it
			held = 0
		}
	}
	w.Send(Exited, Status{Code: 9}.Encode())
	if err := <-done; err != nil || total != len(input) {
		t.Errorf("%d bytes of %d, %v", total, len(input), err)
	}
}

func TestStatus(t *testing.T) {
	got := []int{Status{Code: 7}.ExitStatus(), Status{Signal: 9}.ExitStatus()}
	if want := []int{7, 137}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
