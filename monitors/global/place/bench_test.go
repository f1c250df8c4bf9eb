package place

import (
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkGMM places 1,000,000 vRegions of 1 GiB with two replicas on 10,000
// memory monitors of 128 to 512 GiB in 500 failure domains, as a GMM does. It
// reports decisions a second, the fullest monitor's load over the mean, and
// the memory of the pool.
func BenchmarkGMM(b *testing.B) {
	for _, policy := range policies {
		b.Run(policy.Name, func(b *testing.B) {
			for b.Loop() {
				simulate(b, policy)
			}
		})
	}
}

// BenchmarkRebalance plans for 1,000,000 vRegions of 1 GiB on 9,000 memory monitors
// after 1,000 more have joined. It reports moves, and the fullest monitor's load
// over the mean afterwards.
func BenchmarkRebalance(b *testing.B) {
	p := NewPool(Config{Policy: policies[0]})
	join := func(from, to int) {
		for i := from; i < to; i++ {
			p.Set(Member{ID: ID(i + 1), Capacity: Amount{uint64(128<<30) << (i % 3)}, Domain: fmt.Sprint("rack-", i%simDomains)})
		}
	}
	join(0, simMonitors*9/10)
	items := make([]Item, simVRegions)
	for i := range items {
		d, err := p.Place(Request{Need: Amount{1 << 30}, Replicas: 1})
		if err != nil {
			b.Fatal(err)
		}
		items[i] = Item{ID: uint64(i), At: d.Members[0], Need: 1 << 30}
	}
	join(simMonitors*9/10, simMonitors)
	for b.Loop() {
		steps, after := p.Rebalance(items, 0.1)
		worst, sum, limit := 0.0, 0.0, 0.0
		for _, m := range after {
			worst = max(worst, float64(m.After)/float64(m.Limit))
			sum, limit = sum+float64(m.After), limit+float64(m.Limit)
		}
		b.ReportMetric(float64(len(steps)), "moves")
		b.ReportMetric(worst/(sum/limit), "max-load/mean")
	}
}

const (
	simMonitors = 10_000
	simVRegions = 1_000_000
	simDomains  = 500
)

func simulate(b *testing.B, policy Policy) {
	before := heapInUse()
	p := NewPool(Config{Policy: policy})
	for i := range simMonitors {
		capacity := uint64(128<<30) << (i % 3)
		p.Set(Member{ID: ID(i + 1), Capacity: Amount{capacity}, Domain: fmt.Sprint("rack-", i%simDomains)})
	}
	memory := heapInUse() - before
	start := b.Elapsed()
	for i := range simVRegions {
		if _, err := p.Place(Request{Need: Amount{1 << 30}, Replicas: 2}); err != nil {
			b.Fatalf("vRegion %d: %v", i, err)
		}
	}
	took := b.Elapsed() - start
	worst, sum := 0.0, 0.0
	for _, m := range p.members {
		worst, sum = max(worst, m.load), sum+m.load
	}
	b.ReportMetric(simVRegions/took.Seconds(), "decisions/s")
	b.ReportMetric(worst/(sum/simMonitors), "max-load/mean")
	b.ReportMetric(float64(memory)/simMonitors, "B/monitor")
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
