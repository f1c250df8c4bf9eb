// Package share divides a host's ExCache among its vNodes. It is pure: what each
// may have and how often it misses go in, sizes come out.
//
// Every vNode has its floor. What is left goes by weight times need, where half
// of the need is the same for all and half is a vNode's part of all misses, to
// no more than each one's limit.
package share

// VNode is one that runs.
type VNode struct {
	Floor, Limit uint64 // bytes, Floor <= Limit
	Weight       uint64
	Misses       float64 // a second
}

// Divide returns the bytes for each vNode. Together they are at most budget,
// unless the floors alone are more.
func Divide(budget uint64, vnodes []VNode) []uint64 {
	sizes := make([]uint64, len(vnodes))
	left, misses := budget, 0.0
	for i, v := range vnodes {
		sizes[i] = v.Floor
		left -= min(left, v.Floor)
		misses += v.Misses
	}
	open := make([]int, 0, len(vnodes)) // that have not reached their limits
	for i := range vnodes {
		open = append(open, i)
	}
	for len(open) > 0 && left > 0 {
		open, left = pour(left, vnodes, sizes, open, misses)
	}
	return sizes
}

// pour gives out left once, and returns who can take more and what is left
// because others could not take their part.
func pour(left uint64, vnodes []VNode, sizes []uint64, open []int, misses float64) ([]int, uint64) {
	sum := 0.0
	for _, i := range open {
		sum += vnodes[i].claim(misses, len(vnodes))
	}
	var still []int
	back, given := uint64(0), uint64(0)
	for _, i := range open {
		part := min(uint64(float64(left)*vnodes[i].claim(misses, len(vnodes))/sum), left-given)
		given += part
		took := min(part, vnodes[i].Limit-min(vnodes[i].Limit, sizes[i]))
		sizes[i] += took
		back += part - took
		if took == part {
			still = append(still, i)
		}
	}
	if len(still) == len(open) {
		return nil, 0 // all took their parts
	}
	return still, back
}

// claim is a vNode's part before it is put in proportion.
func (v *VNode) claim(misses float64, n int) float64 {
	need := 0.5
	if misses > 0 {
		need += 0.5 * float64(n) * v.Misses / misses
	} else {
		need = 1
	}
	return float64(max(1, v.Weight)) * need
}
