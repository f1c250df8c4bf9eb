package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/term"
)

// progressEvery is how often a terminal's line is written anew.
const progressEvery = 100 * time.Millisecond

// progress shows how an image gets here: one line that changes on a terminal,
// elsewhere a line for each thing that is done.
type progress struct {
	w        io.Writer
	terminal bool

	mu     sync.Mutex
	layers map[v1.Hash][2]int64 // guarded by mu, as are all below: done and total bytes
	shown  time.Time
	open   bool // the cursor is behind a line that changes
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, layers: map[v1.Hash][2]int64{}}
	if f, ok := w.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// Layer implements oci.Progress.
func (p *progress) Layer(digest v1.Hash, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.layers[digest]
	p.layers[digest] = [2]int64{done, total}
	if !p.terminal {
		if done == total && (!known || before[0] != total) {
			fmt.Fprintf(p.w, "layer %.12s: %s\n", digest.Hex, units.BytesSize(float64(total)))
		}
		return
	}
	if now := time.Now(); now.Sub(p.shown) >= progressEvery || done == total {
		p.shown = now
		p.line()
	}
}

// line writes the terminal's line anew; the caller has mu.
func (p *progress) line() {
	var have, all int64
	whole := 0
	for _, l := range p.layers {
		have, all = have+l[0], all+l[1]
		if l[0] == l[1] {
			whole++
		}
	}
	fmt.Fprintf(p.w, "\r\x1b[Klayers %d/%d, %s of %s", whole, len(p.layers), units.BytesSize(float64(have)), units.BytesSize(float64(all)))
	p.open = true
}

// Step implements oci.Progress.
func (p *progress) Step(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	fmt.Fprintln(p.w, what)
}

// end leaves the line that changes; the caller has mu.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}

func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}
