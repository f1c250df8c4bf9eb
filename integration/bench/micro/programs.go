//go:build amd64

package micro

import (
	"fmt"

	"splitvm/guest/bare"
	vmbare "splitvm/vmm/bare"
)

// strideLines is the stride of Stride.
const strideLines = 16

// scatter is the multiplier of chase: 5 mod 8, from PCG (O'Neill 2014).
const scatter = 0x5851f42d4c957f2d

// share is the part of the working set that belongs to vCPU i, in lines.
func (c *Cell) share(i int) (start, lines uint64) {
	lines = c.WorkingSet / bare.LineSize / uint64(c.VCPUs)
	return bare.Memory + uint64(i)*lines*bare.LineSize, lines
}

// fill writes every line of the working set, half of it with numbers and half
// with zeroes: it compresses about 2:1, as swap expects of ordinary memory.
func (c *Cell) fill() vmbare.Spec {
	s := vmbare.Spec{Program: bare.Fill}
	for i := range c.VCPUs {
		start, lines := c.share(i)
		s.Params = append(s.Params, bare.Params{
			Start: start, Count: lines, Stride: bare.LineSize, Seed: 1, Pattern: c.Seed,
			Words: bare.LineSize / 8, WordStride: 8, Flags: bare.FlagFillHalf,
		})
	}
	return s
}

// spec is the measured program. Before it measures, a vCPU makes as many
// accesses as its cache has lines and more, so that the cache has settled.
func (c *Cell) spec() (vmbare.Spec, error) {
	s := vmbare.Spec{}
	for i := range c.VCPUs {
		start, lines := c.share(i)
		p := bare.Params{
			Start: start, Count: lines, Stride: bare.LineSize, Seed: c.Seed + uint64(i)*0x9e3779b97f4a7c15 | 1,
			WriteBelow: bare.Writes(c.Writes), Sample: 1, Warm: lines, Accesses: c.Accesses, Scatter: scatter,
		}
		passes := max(1, (c.Accesses+lines-1)/lines)
		switch c.Pattern {
		case Random:
			s.Program, p.Span = bare.Random, bare.LineSize-8
		case Zipf:
			s.Program, p.Span = bare.Zipf, bare.LineSize-8
			classes, err := bare.ZipfClasses(uint32(lines), 0.99)
			if err != nil {
				return s, err
			}
			s.Table = bare.TableBytes(classes)
			p.Table, p.TableCount, p.Scatter = bare.TablesAt, uint64(len(classes)), bare.Scatter(lines)
		case Sequential:
			s.Program, p.Warm, p.Accesses = bare.Touch, 1, passes
		case Stride:
			s.Program, p.Count, p.Stride, p.Advance = bare.Touch, lines/strideLines, strideLines*bare.LineSize, bare.LineSize
			p.Warm, p.Accesses = strideLines, strideLines*passes
		case Chase:
			s.Program = bare.Leap
		case Stream:
			s.Program, p.Count, p.Stride, p.Sample = bare.Touch, lines*bare.LineSize/streamStep, streamStep, 0
			p.Warm, p.Accesses = 1, passes
		case First:
			s.Program, p.Warm, p.Accesses = bare.Touch, 0, 1
		default:
			return s, fmt.Errorf("unknown pattern %q", c.Pattern)
		}
		s.Params = append(s.Params, p)
	}
	return s, nil
}

// measure turns what the guest reported into a Measurement; misses were
// counted during the measured phase.
func measure(r *vmbare.Result, misses uint64) Measurement {
	var all bare.Histogram
	var accesses, cycles float64
	begin, end := ^uint64(0), uint64(0)
	for _, v := range r.VCPUs {
		if v.Histogram != nil {
			all.Add(v.Histogram)
		}
		accesses += float64(v.Result.Accesses)
		cycles += float64(v.Result.End - v.Result.Begin)
		begin, end = min(begin, v.Result.Begin), max(end, v.Result.End)
	}
	ns := 1e9 / r.CyclesPerSecond
	return Measurement{
		Access: cycles / accesses * ns, PerSecond: accesses / (float64(end-begin) * ns) * 1e9,
		P50: all.Quantile(0.5) * ns, P99: all.Quantile(0.99) * ns, P999: all.Quantile(0.999) * ns, Longest: all.Quantile(1) * ns,
		Misses: float64(misses) / accesses,
	}
}
