package mesh

import "github.com/prometheus/client_golang/prometheus"

var (
	descFrames   = desc("frames_total", "Frames to and from other hosts.", "direction")
	descDropped  = desc("frames_dropped_total", "Frames to other hosts for which there was no room or no connection.")
	descRefused  = desc("frames_refused_total", "Frames that other hosts had no business to send, as far as this one knows.")
	descConnects = desc("connections_total", "Connections made to other hosts.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("splitvm_mesh_"+name, help, labels, nil)
}

var _ prometheus.Collector = (*Mesh)(nil)

// Describe implements prometheus.Collector.
func (m *Mesh) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Mesh) Collect(ch chan<- prometheus.Metric) {
	s := m.Stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(descFrames, s.Sent, "sent")
	count(descFrames, s.Received, "received")
	count(descDropped, s.Dropped)
	count(descRefused, s.Refused)
	count(descConnects, s.Connects)
}
