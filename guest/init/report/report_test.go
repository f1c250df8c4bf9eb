package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	for _, c := range []struct {
		msg    Message
		line   string
		status int
	}{
		{Start(812*time.Millisecond + 3*time.Microsecond), `{"started":{"uptime_ms":812}}`, 0},
		{Exit(0), `{"exit":0}`, 0},
		{Exit(255), `{"exit":255}`, 255},
		{Killed(9), `{"signal":9}`, 137},
		{Failure(ExitFailed, "mount root: no such device"), `{"error":"mount root: no such device"}`, 125},
		{Failure(ExitNotFound, `run "x"`), `{"exit":127,"error":"run \"x\""}`, 127},
	} {
		if got := string(Encode(c.msg)); got != c.line+"\n" {
			t.Errorf("Encode(%v) = %q, want %q", c.msg, got, c.line)
		}
		got, err := Decode([]byte(c.line))
		if err != nil {
			t.Fatalf("Decode(%s): %v", c.line, err)
		}
		if d := cmp.Diff(c.msg, got); d != "" {
			t.Errorf("Decode(%s) (-want +got):\n%s", c.line, d)
		}
		if got.ExitStatus() != c.status {
			t.Errorf("%v: exit status %d, want %d", got, got.ExitStatus(), c.status)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, line := range []string{
		``, `{}`, `[]`, `null`, `3`, `{"exit":256}`, `{"exit":-1}`, `{"exit":"0"}`, `{"signal":0}`, `{"signal":65}`,
		`{"exit":0,"signal":9}`, `{"signal":9,"error":"x"}`, `{"started":{},"exit":1}`, `{"exit":1}{"exit":2}`,
		`{"error":"` + strings.Repeat("x", MaxLine) + `"}`,
	} {
		if m, err := Decode([]byte(line)); !errors.Is(err, ErrMalformed) {
			t.Errorf("Decode(%.40q) = %v, %v; want ErrMalformed", line, m, err)
		}
	}
}

func TestReasonIsOnePrintableLine(t *testing.T) {
	m, err := Decode([]byte(`{"error":"a\u001b[2Jb\nc\u0000","exit":0}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.Reason != "a [2Jb c" || m.Code != ExitFailed {
		t.Errorf("got %q, code %d", m.Reason, m.Code)
	}
}

func TestRequests(t *testing.T) {
	for _, sig := range []uint8{1, 15, 64} {
		got, err := DecodeRequest(EncodeRequest(sig))
		if err != nil || got != sig {
			t.Errorf("signal %d came back as %d, %v", sig, got, err)
		}
	}
	for _, line := range []string{`{"kill":0}`, `{"kill":65}`, `{}`, `kill 9`} {
		if sig, err := DecodeRequest([]byte(line)); !errors.Is(err, ErrMalformed) {
			t.Errorf("DecodeRequest(%s) = %d, %v; want ErrMalformed", line, sig, err)
		}
	}
}

func TestPortWord(t *testing.T) {
	for _, m := range []Message{Exit(0), Exit(7), Killed(11), Failure(ExitNotFound, "")} {
		got, err := DecodePort(EncodePort(m))
		if err != nil || got.Kind != m.Kind || got.Code != m.Code {
			t.Errorf("%v came back as %v, %v", m, got, err)
		}
	}
	for _, word := range []uint16{0x0000, 0x0001, 0x0200, 0x0241, 0x0400, 0xFFFF} {
		if m, err := DecodePort(word); !errors.Is(err, ErrMalformed) {
			t.Errorf("DecodePort(%#x) = %v, %v; want ErrMalformed", word, m, err)
		}
	}
}

func TestScannerSkipsALineTooLong(t *testing.T) {
	stream := `{"started":{"uptime_ms":5}}` + "\n" + strings.Repeat("z", 3*MaxLine) + "\n" + `{"exit":4}` + "\n" + `{"exit":5}`
	msgs, errs := scan([]byte(stream), 100)
	if d := cmp.Diff([]Message{Start(5 * time.Millisecond), Exit(4)}, msgs); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
	if errs != 1 {
		t.Errorf("%d errors, want 1", errs)
	}
}

// scan feeds stream to a Scanner in pieces of size bytes.
func scan(stream []byte, size int) (msgs []Message, errs int) {
	var s Scanner
	for len(stream) > 0 {
		n := min(size, len(stream))
		s.Write(stream[:n], func(m Message, err error) {
			if err != nil {
				errs++
				return
			}
			msgs = append(msgs, m)
		})
		stream = stream[n:]
	}
	return msgs, errs
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"exit":3}`))
	f.Add([]byte(`{"error":"a\u001b[0m","exit":127}`))
	f.Add([]byte(`{"started":{"uptime_ms":4294967295}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := Decode(line)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if s := m.ExitStatus(); s < 0 || s > 255 {
			t.Fatalf("exit status %d", s)
		}
		if len(m.Reason) > maxError || strings.ContainsFunc(m.Reason, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("reason %q", m.Reason)
		}
		again, err := Decode(Encode(m))
		if err != nil || again != m {
			t.Fatalf("%v came back as %v, %v", m, again, err)
		}
	})
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("{\"exit\":1}\n\n{\"signal\":2}\n"), uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		whole, wholeErrs := scan(stream, max(1, len(stream)))
		pieces, piecesErrs := scan(stream, int(size)+1)
		if d := cmp.Diff(whole, pieces); d != "" || wholeErrs != piecesErrs {
			t.Fatalf("errors %d and %d; messages (-whole +pieces):\n%s", wholeErrs, piecesErrs, d)
		}
		if len(whole)+wholeErrs > bytes.Count(stream, []byte{'\n'})+1 {
			t.Fatalf("%d messages, %d errors of %q", len(whole), wholeErrs, stream)
		}
	})
}
