package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/term"

	"splitvm/remote"
	"splitvm/remote/api"
)

// moveLook is how often moves are looked at.
const moveLook = 200 * time.Millisecond

// moveProgress shows how moves go on: one line that changes on a terminal, elsewhere
// a line when the text changes.
type moveProgress struct {
	w        io.Writer
	title    string
	terminal bool
	began    time.Time
	first    uint64 // bytes to move in the beginning
	last     string
	open     bool
}

func newMoveProgress(w io.Writer, title string, bytes uint64) *moveProgress {
	p := &moveProgress{w: w, title: title, began: time.Now(), first: bytes}
	if f, ok := w.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// status shows the text; a terminal shows the rest as well.
func (p *moveProgress) status(text string, bytes uint64, moves []*api.VRegionMove) {
	text = p.title + ": " + text
	if !p.terminal {
		if text != p.last {
			fmt.Fprintln(p.w, text)
		}
		p.last = text
		return
	}
	if bytes > 0 {
		text += fmt.Sprintf(", %s%s", units.BytesSize(float64(bytes)), p.eta(bytes))
	}
	for _, m := range moves {
		if m.Active {
			text += fmt.Sprintf("; %v", remote.VRegionID(m.Vregion))
		}
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	p.open = true
}

// eta guesses how long the rest takes from how long what is done took.
func (p *moveProgress) eta(left uint64) string {
	took, done := time.Since(p.began), p.first-min(left, p.first)
	if done == 0 || took < time.Second {
		return ""
	}
	rest := time.Duration(float64(took) / float64(done) * float64(left))
	return fmt.Sprintf(", about %v to go", rest.Round(time.Second))
}

// end leaves the line that changes.
func (p *moveProgress) end() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}
