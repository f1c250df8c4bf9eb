package rig

import "time"

// rdtsc reads this CPU's time-stamp counter.
func rdtsc() uint64

// tscKHz measures the rate of the time-stamp counter, which QEMU's emulation
// passes on. L1 is told it: on a busy machine its kernel's own calibration
// against an emulated timer is off by as much as a factor of 2, and so would be
// every clock in it and in its guests.
func tscKHz() int64 {
	const span = 100 * time.Millisecond
	t0, c0 := stampedTSC()
	time.Sleep(span)
	t1, c1 := stampedTSC()
	return int64(float64(c1-c0) / float64(t1.Sub(t0).Nanoseconds()) * 1e6)
}

// stampedTSC reads clock and counter at about the same time: the closest of some
// attempts, as this thread may lose its CPU in between.
func stampedTSC() (at time.Time, counter uint64) {
	best := time.Hour
	for range 50 {
		before := time.Now()
		c := rdtsc()
		if took := time.Since(before); took < best {
			best, at, counter = took, before.Add(took/2), c
		}
	}
	return at, counter
}
