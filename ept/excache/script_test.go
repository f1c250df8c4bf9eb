package excache

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A script in testdata is stories of one line:
//
//	# what it is about
//	start Remote            the entry to begin with
//	ReadFault => Fetching+Wait: SendRead
//	Evict => illegal
//	kill page => Dirty      a successor repairs it, its page is there
//	kill => Remote          or isn't; "punch" after the entry if it is punched out
//
// An effect set is "-" if it is empty.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := script{}
			for in, n := bufio.NewScanner(f), 1; in.Scan(); n++ {
				if err := s.line(in.Text()); err != nil {
					t.Errorf("%s:%d: %v", name, n, err)
				}
			}
		})
	}
}

type script struct{ entry Entry }

// line runs one line of a script.
func (s *script) line(text string) error {
	text, _, _ = strings.Cut(text, "#")
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	if start, ok := strings.CutPrefix(text, "start "); ok {
		var err error
		s.entry, err = parseEntry(start)
		return err
	}
	left, want, ok := strings.Cut(text, "=>")
	if !ok {
		return fmt.Errorf("no => in %q", text)
	}
	got, err := s.do(strings.Fields(left))
	if want = strings.TrimSpace(want); err == nil && got != want {
		err = fmt.Errorf("%s gives %q, want %q", strings.TrimSpace(left), got, want)
	}
	return err
}

func (s *script) do(words []string) (string, error) {
	if words[0] == "kill" {
		r := Recover(s.entry, len(words) > 1 && words[1] == "page")
		s.entry = r.Entry
		if r.Punch {
			return s.entry.String() + " punch", nil
		}
		return s.entry.String(), nil
	}
	ev, err := parseEvent(words[0])
	if err != nil {
		return "", err
	}
	next, do, err := Step(s.entry, ev)
	if err != nil {
		return "illegal", nil
	}
	s.entry = next
	return next.String() + ": " + do.String(), nil
}

func parseEvent(name string) (Event, error) {
	for ev := range numEvents {
		if ev.String() == name {
			return ev, nil
		}
	}
	return 0, fmt.Errorf("no event %q", name)
}

func parseEntry(text string) (Entry, error) {
	for e := range 256 {
		if Entry(e).Valid() && Entry(e).String() == text {
			return Entry(e), nil
		}
	}
	return 0, fmt.Errorf("no entry %q", text)
}
