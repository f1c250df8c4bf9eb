//go:build amd64

package micro

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
)

// A plot is a grid of panels, one for each pattern, share of writes and number
// of vCPUs: the time of an access over the size of the cache, a line for each
// backend. Times are logarithmic. Sizes are pixels.
const (
	panelWidth   = 360
	panelHeight  = 250
	panelsAcross = 3
	marginLeft   = 52
	marginRight  = 14
	marginTop    = 34
	marginBelow  = 40
	headHeight   = 44
)

// colours of the backends, told apart by those who see few colours as well.
var colours = map[string]string{Local: "#000000", Floor: "#009e73", Model: "#cc79a7", Swap: "#d55e00", Remote: "#0072b2"}

// variants are the colours of backends with a name of their own, by turns.
var variants = []string{"#cc79a7", "#56b4e9", "#e69f00", "#8c564b"}

func (r *Report) colour(backend string) string {
	if c, ok := colours[backend]; ok {
		return c
	}
	n := 0
	for _, b := range r.backends() {
		if b == backend {
			break
		}
		if _, ok := colours[b]; !ok {
			n++
		}
	}
	return variants[n%len(variants)]
}

// panel is the rows that go into one.
type panel struct {
	title string
	rows  []Row
}

// WritePlot draws the report as an SVG image.
func (r *Report) WritePlot(w io.Writer) error {
	panels := r.panels()
	across := min(len(panels), panelsAcross)
	down := (len(panels) + panelsAcross - 1) / panelsAcross
	var b bytes.Buffer
	width, height := across*panelWidth, headHeight+down*panelHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	r.drawHead(&b)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%panelsAcross*panelWidth, headHeight+i/panelsAcross*panelHeight)
		p.draw(&b, r.colour)
		fmt.Fprintln(&b, "</g>")
	}
	fmt.Fprintln(&b, "</svg>")
	_, err := w.Write(b.Bytes())
	return err
}

func (r *Report) panels() []panel {
	var panels []panel
	for _, row := range r.Rows {
		title := fmt.Sprintf("%s, %.0f %% writes, %d vCPU", row.Pattern, 100*row.Writes, row.VCPUs)
		if row.VCPUs > 1 {
			title += "s"
		}
		if n := len(panels); n == 0 || panels[n-1].title != title {
			panels = append(panels, panel{title: title})
		}
		last := &panels[len(panels)-1]
		last.rows = append(last.rows, row)
	}
	return panels
}

// drawHead is the title and what the colours mean.
func (r *Report) drawHead(w io.Writer) {
	fmt.Fprintf(w, `<text x="10" y="16" font-size="13">Time of an access (microseconds) over the cache (%% of a working set of %d MiB), medians of %d rounds</text>`+"\n", r.WorkingSet>>20, r.Rounds)
	x := 10
	for _, b := range r.backends() {
		fmt.Fprintf(w, `<rect x="%d" y="25" width="14" height="4" fill="%s"/><text x="%d" y="31">%s</text>`+"\n", x, r.colour(b), x+18, b)
		x += 90
	}
}

func (r *Report) backends() []string {
	var names []string
	for _, row := range r.Rows {
		if !slices.Contains(names, row.Backend) {
			names = append(names, row.Backend)
		}
	}
	return names
}

// axes are a panel's scales: caches from left to right, decades of
// microseconds upwards.
type axes struct {
	caches    []int
	low, high int // powers of ten
}

func (p *panel) axes() axes {
	a := axes{low: math.MaxInt, high: math.MinInt}
	for _, row := range p.rows {
		if !slices.Contains(a.caches, row.Cache) {
			a.caches = append(a.caches, row.Cache)
		}
		e := math.Log10(max(row.Median.Access, 0.001) / 1e3)
		a.low, a.high = min(a.low, int(math.Floor(e))), max(a.high, int(math.Ceil(e)))
	}
	a.high = max(a.high, a.low+1)
	return a
}

func (a *axes) x(cache int) float64 {
	i := slices.Index(a.caches, cache)
	return marginLeft + (float64(i)+0.5)*float64(panelWidth-marginLeft-marginRight)/float64(len(a.caches))
}

func (a *axes) y(ns float64) float64 {
	e := math.Log10(max(ns, 0.001) / 1e3)
	const span = panelHeight - marginTop - marginBelow
	return marginTop + span*(float64(a.high)-e)/float64(a.high-a.low)
}

func (p *panel) draw(w io.Writer, colour func(backend string) string) {
	a := p.axes()
	fmt.Fprintf(w, `<text x="%d" y="22" font-weight="bold">%s</text>`+"\n", marginLeft, p.title)
	for e := a.low; e <= a.high; e++ {
		y := a.y(math.Pow10(e) * 1e3)
		fmt.Fprintf(w, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#cccccc"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			marginLeft, y, panelWidth-marginRight, y, marginLeft-6, y+4, math.Pow10(e))
	}
	for _, c := range a.caches {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">%d %%</text>`+"\n", a.x(c), panelHeight-marginBelow+16, c)
	}
	byBackend := map[string][]Row{}
	var names []string
	for _, row := range p.rows {
		if byBackend[row.Backend] == nil {
			names = append(names, row.Backend)
		}
		byBackend[row.Backend] = append(byBackend[row.Backend], row)
	}
	for _, name := range names {
		a.drawLine(w, colour(name), byBackend[name])
	}
}

// drawLine joins the medians of a backend, with a bar from its fastest to its
// slowest round.
func (a *axes) drawLine(w io.Writer, stroke string, rows []Row) {
	fmt.Fprintf(w, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, stroke)
	for _, row := range rows {
		fmt.Fprintf(w, "%.1f,%.1f ", a.x(row.Cache), a.y(row.Median.Access))
	}
	fmt.Fprintln(w, `"/>`)
	for _, row := range rows {
		x := a.x(row.Cache)
		fastest, slowest := row.Median.Access, row.Median.Access
		for _, m := range row.Rounds {
			fastest, slowest = min(fastest, m.Access), max(slowest, m.Access)
		}
		top := max(a.y(slowest), marginTop)
		bottom := min(a.y(fastest), panelHeight-marginBelow)
		fmt.Fprintf(w, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-opacity="0.5"/><circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n",
			x, top, x, bottom, stroke, x, a.y(row.Median.Access), stroke)
	}
}
