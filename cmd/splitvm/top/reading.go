package top

import (
	"time"

	"splitvm/remote/api"
)

// Reading is a rack at one time.
type Reading struct {
	At       time.Time
	VNodes   []VNode
	Monitors []*api.Member
	Err      error // the rack could not be read; nothing else is set
}

// VNode is one vNode of a Reading.
type VNode struct {
	*api.VNode
	Held     uint64         // bytes of its lines that memory monitors hold, each once
	VRegions []*api.VRegion // by index
	Counters *Counters      // nil: it does not run, or did not answer
	Err      error          // why it did not
}

// Counters are what a vNode counts from its start on.
type Counters struct {
	CPU       time.Duration // of its VMM's process
	ExCache   *ExCache      // nil: its memory is local
	Disk, Net *Traffic      // nil: it has none
}

// ExCache is how a vNode's cache of remote memory stands, and what it did since its
// pager started.
type ExCache struct {
	Used, Limit, Dirty uint64 // bytes
	Faults, Misses     uint64 // a miss is a fault that fetched a line
	Traffic                   // bytes from memory monitors, and to each
	P50, P99           time.Duration
	Pagers             int // how often a pager died and was replaced
}

// Traffic is bytes to the guest and from it.
type Traffic struct{ In, Out uint64 }

// Rates are what a vNode did in a second, between two readings.
type Rates struct {
	CPU            float64 // processors
	Faults, Misses float64
	Memory         Flow // bytes from memory monitors and to them
	Disk, Net      Flow
}

// Flow is Traffic in a second.
type Flow struct{ In, Out float64 }

// ratesOf compares two readings of the same vNode; nil where one is not there.
func ratesOf(before, now *Counters, dt time.Duration) *Rates {
	if before == nil || now == nil || dt <= 0 {
		return nil
	}
	per := func(a, b uint64) float64 { return float64(since(a, b)) / dt.Seconds() }
	flow := func(a, b *Traffic) Flow {
		if a == nil || b == nil {
			return Flow{}
		}
		return Flow{per(a.In, b.In), per(a.Out, b.Out)}
	}
	r := &Rates{CPU: float64(max(0, now.CPU-before.CPU)) / float64(dt), Disk: flow(before.Disk, now.Disk), Net: flow(before.Net, now.Net)}
	if a, b := before.ExCache, now.ExCache; a != nil && b != nil {
		r.Faults, r.Misses, r.Memory = per(a.Faults, b.Faults), per(a.Misses, b.Misses), flow(&a.Traffic, &b.Traffic)
	}
	return r
}

// since is how much a counter has grown; one that is smaller began anew.
func since(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// row is a vNode on the screen.
type row struct {
	VNode
	rates *Rates
	on    string // its processor monitor's name
}

// rows compares two readings. A run of a vNode that is another one begins anew.
func rows(before, now *Reading) []row {
	type run struct{ id, run uint64 }
	old := map[run]*Counters{}
	for _, v := range before.VNodes {
		old[run{v.Id, v.Run}] = v.Counters
	}
	names := map[uint64]string{}
	for _, m := range now.Monitors {
		names[m.Id] = m.Name
	}
	list := make([]row, 0, len(now.VNodes))
	for _, v := range now.VNodes {
		list = append(list, row{v, ratesOf(old[run{v.Id, v.Run}], v.Counters, now.At.Sub(before.At)), names[v.Processor]})
	}
	return list
}
