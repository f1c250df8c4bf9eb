package top

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/docker/go-units"

	"splitvm/remote/api"
)

// column is one of the vNodes' table.
type column struct {
	title string
	width int
	right bool
	drop  int // on a narrow screen, those with the highest go first
	text  func(*row) string
	order func(a, b *row) int // the default order: most first, names from A
}

var columns = []column{
	{"NAME", 16, false, 0, func(r *row) string { return r.Spec.GetName() }, byName},
	{"STATE", 8, false, 6, func(r *row) string { return State(r.VNode.VNode) }, func(a, b *row) int { return cmp.Compare(a.State, b.State) }},
	{"PROCESSOR", 12, false, 7, func(r *row) string { return r.on }, func(a, b *row) int { return cmp.Compare(a.on, b.on) }},
	{"CPU%", 6, true, 0, rate(func(r *Rates) string { return fmt.Sprintf("%.1f", 100*r.CPU) }), most(func(r *Rates) float64 { return r.CPU })},
	{"EXCACHE", 15, true, 0, excacheText, func(a, b *row) int { return cmp.Compare(excache(b).Used, excache(a).Used) }},
	{"MISS/S", 8, true, 0, far(func(r *Rates) string { return count(r.Misses) }), most(func(r *Rates) float64 { return r.Misses })},
	{"REMOTE", 9, true, 1, func(r *row) string { return size(float64(r.Held)) }, func(a, b *row) int { return cmp.Compare(b.Held, a.Held) }},
	{"FETCH/S", 9, true, 5, far(func(r *Rates) string { return size(r.Memory.In) }), most(func(r *Rates) float64 { return r.Memory.In })},
	{"BACK/S", 9, true, 5, far(func(r *Rates) string { return size(r.Memory.Out) }), most(func(r *Rates) float64 { return r.Memory.Out })},
	{"DISK R/S", 9, true, 3, disk(func(r *Rates) string { return size(r.Disk.In) }), most(func(r *Rates) float64 { return r.Disk.In })},
	{"DISK W/S", 9, true, 3, disk(func(r *Rates) string { return size(r.Disk.Out) }), most(func(r *Rates) float64 { return r.Disk.Out })},
	{"NET IN/S", 9, true, 4, net(func(r *Rates) string { return size(r.Net.In) }), most(func(r *Rates) float64 { return r.Net.In })},
	{"NET OUT/S", 9, true, 4, net(func(r *Rates) string { return size(r.Net.Out) }), most(func(r *Rates) float64 { return r.Net.Out })},
}

// none is a cell about what a vNode does not have, or what is not known.
const none = "-"

// Columns are the titles by which vNodes can be sorted.
func Columns() (titles []string) {
	for _, c := range columns {
		titles = append(titles, strings.ToLower(c.title))
	}
	return titles
}

func byName(a, b *row) int { return cmp.Compare(a.Spec.GetName(), b.Spec.GetName()) }

func most(of func(*Rates) float64) func(a, b *row) int {
	get := func(r *row) float64 {
		if r.rates == nil {
			return -1
		}
		return of(r.rates)
	}
	return func(a, b *row) int { return cmp.Compare(get(b), get(a)) }
}

func rate(text func(*Rates) string) func(*row) string {
	return only(func(*Counters) bool { return true }, text)
}

func far(text func(*Rates) string) func(*row) string {
	return only(func(c *Counters) bool { return c.ExCache != nil }, text)
}

func disk(text func(*Rates) string) func(*row) string {
	return only(func(c *Counters) bool { return c.Disk != nil }, text)
}

func net(text func(*Rates) string) func(*row) string {
	return only(func(c *Counters) bool { return c.Net != nil }, text)
}

// only shows a rate of vNodes that have what it is about.
func only(has func(*Counters) bool, text func(*Rates) string) func(*row) string {
	return func(r *row) string {
		if r.rates == nil || !has(r.Counters) {
			return none
		}
		return text(r.rates)
	}
}

func excache(r *row) ExCache {
	if r.Counters == nil || r.Counters.ExCache == nil {
		return ExCache{}
	}
	return *r.Counters.ExCache
}

func excacheText(r *row) string {
	e := excache(r)
	if e.Limit == 0 {
		return none
	}
	return size(float64(e.Used)) + "/" + size(float64(e.Limit))
}

// State is a vNode's state for people.
func State(v *api.VNode) string {
	return strings.ToLower(strings.TrimPrefix(v.State.String(), "VNODE_STATE_"))
}

func size(n float64) string {
	return units.CustomSize("%.4g%s", n, 1024, []string{"B", "K", "M", "G", "T", "P"})
}

// count is a number that may be large, in few digits.
func count(n float64) string { return units.CustomSize("%.4g%s", n, 1000, []string{"", "k", "M", "G"}) }
