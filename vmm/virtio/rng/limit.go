package rng

import "time"

// limit is a token bucket of bytes. It is pure: the caller brings the clock
// and sleeps.
type limit struct {
	rate  int // bytes a second
	burst int // most bytes saved up
	saved float64
	last  time.Time
}

func newLimit(c Config, now time.Time) *limit {
	return &limit{rate: c.Rate, burst: c.Burst, saved: float64(c.Burst), last: now}
}

// take spends n bytes, at most burst, and returns how long to wait before they
// may be used.
func (l *limit) take(n int, now time.Time) time.Duration {
	l.saved = min(l.saved+now.Sub(l.last).Seconds()*float64(l.rate), float64(l.burst))
	l.last = now
	l.saved -= float64(n)
	if l.saved >= 0 {
		return 0
	}
	return time.Duration(-l.saved / float64(l.rate) * float64(time.Second))
}
