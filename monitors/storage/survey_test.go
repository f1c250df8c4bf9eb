package storage

import (
	"slices"
	"testing"
	"time"

	"splitvm/remote/blockclient"
)

// A replica alone says whether the volume needs the others: not, once it was told that it
// goes on without them; and if it does, whether they may have what it has not: only while
// there is a writer, or after one that did not end in order.
func TestSurvey(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	var at []string
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
		at = append(at, p.address())
	}
	survey := func(at ...string) blockclient.Standing {
		t.Helper()
		s, err := blockclient.Survey(t.Context(), blockclient.Config{Monitors: at, Name: "v"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	both := blockclient.Config{Monitors: at, Name: "v", Grace: 50 * time.Millisecond}
	g := newGuest(t, open(t, both), 11)
	g.run(20)()
	if s := survey(at[0]); s.Complete || len(s.Orderly) != 0 {
		t.Errorf("while it is written: %+v", s)
	}
	if err := g.v.Close(); err != nil {
		t.Fatal(err)
	}
	if s := survey(at[0]); s.Complete || !slices.Equal(s.Orderly, at[:1]) {
		t.Errorf("when it is closed: %+v", s)
	}
	if s := survey(at...); !s.Complete || len(s.Orderly) != 2 {
		t.Errorf("both: %+v", s)
	}
	g.v = open(t, both)
	p[1].kill()
	g.run(20)()
	if s := survey(at[0]); !s.Complete {
		t.Errorf("when it goes on alone: %+v", s)
	}
	if err := g.v.Close(); err != nil {
		t.Fatal(err)
	}
	p[1].start()
	if s := survey(at[1]); s.Complete || len(s.Orderly) != 0 {
		t.Errorf("of the one that was left behind: %+v", s)
	}
	p[0].kill()
	if s, err := blockclient.Survey(t.Context(), blockclient.Config{Monitors: at, Name: "v"}); err == nil {
		t.Errorf("with one that does not answer: %+v", s)
	}
}
