package host

import "github.com/prometheus/client_golang/prometheus"

var (
	descFrames  = desc("frames_total", "Frames of a vNode's port.", "direction")
	descRefused = desc("frames_refused_total", "Frames of a vNode's that were malformed, or not from its own address.")
	descDropped = desc("frames_dropped_total", "Frames for a vNode that it did not take in time.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("splitvm_network_"+name, help, append([]string{"network", "vnode"}, labels...), nil)
}

var _ prometheus.Collector = (*Networks)(nil)

// Describe implements prometheus.Collector.
func (h *Networks) Describe(ch chan<- *prometheus.Desc) {
	ch <- descFrames
	ch <- descRefused
	ch <- descDropped
}

// Collect implements prometheus.Collector.
func (h *Networks) Collect(ch chan<- prometheus.Metric) {
	for _, p := range h.Ports() {
		count := func(d *prometheus.Desc, n uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{p.Network, p.VNode}, labels...)...)
		}
		count(descFrames, p.Sent, "sent")
		count(descFrames, p.Received, "received")
		count(descRefused, p.Refused)
		count(descDropped, p.Dropped)
	}
}
