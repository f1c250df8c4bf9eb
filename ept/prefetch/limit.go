package prefetch

// limit is how long windows may get, by what became of the marks: twice as long
// for one that was used, half for one that was not.
type limit struct {
	max int
}

const minLimit = 4

func newLimit() limit { return limit{MaxWindow} }

func (l *limit) feedback(used bool) {
	if used {
		l.max = min(2*l.max, MaxWindow)
	} else {
		l.max = max(l.max/2, minLimit)
	}
}
