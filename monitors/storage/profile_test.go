package storage

import (
	"testing"
	"time"

	"splitvm/remote/blockclient"
)

// BenchmarkVolume is the monitor and its client in one process, to be profiled.
func BenchmarkVolume(b *testing.B) {
	const disk = 64 << 20
	address, _ := start(b, b.TempDir(), "127.0.0.1:0")
	create(b, address, "v", 1, disk)
	v := open(b, blockclient.Config{Monitors: []string{address}, Name: "v"})
	defer v.Close()
	e := &farVolume{v: v}
	load{"", 1 << 20, 1, true, true}.run(b, e, disk, 1, time.Second)
	for _, l := range []load{{"read", 4096, 32, false, false}, {"write", 4096, 32, true, false}} {
		b.Run(l.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n += len(l.run(b, e, disk, 1, time.Second))
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}
