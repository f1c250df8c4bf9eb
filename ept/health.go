package ept

import (
	"sync/atomic"
	"time"
)

// health remembers which monitors failed lately, so that a replica is asked
// first that is likely to answer. By monitor; times in Unix nanoseconds.
type health []atomic.Int64

// suspicion is how long a failure is remembered.
const suspicion = 2 * time.Second

func (h health) failed(monitor int) { h[monitor].Store(time.Now().UnixNano()) }

// order returns the owner to ask at the try-th time: those that didn't fail lately
// come first, in their order.
func (h health) order(owners []int, try int) int {
	if len(owners) == 1 {
		return owners[0]
	}
	since := time.Now().Add(-suspicion).UnixNano()
	well := 0
	for _, o := range owners {
		if h[o].Load() < since {
			well++
		}
	}
	pick := try % len(owners)
	if pick < well {
		return nth(owners, pick, func(o int) bool { return h[o].Load() < since })
	}
	return owners[pick]
}

// nth returns the n-th owner of which ok, the first one if there are fewer by now.
func nth(owners []int, n int, ok func(int) bool) int {
	for _, o := range owners {
		if !ok(o) {
			continue
		}
		if n == 0 {
			return o
		}
		n--
	}
	return owners[0]
}
