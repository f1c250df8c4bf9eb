package global

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"splitvm/remote/api"
)

// Every metric of a leader can be gathered, and says what there is.
func TestMetrics(t *testing.T) {
	m := &monitor{}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{m})
	count := func() map[string]float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, x := range f.Metric {
				got[f.GetName()] += x.GetGauge().GetValue() + x.GetCounter().GetValue()
			}
		}
		return got
	}
	if got := count(); len(got) != 1 || got["splitvm_global_leads"] != 0 {
		t.Errorf("without leading: %v", got)
	}
	l := sample(t)
	m.leader.Store(l)
	for name, want := range map[string]float64{"leads": 1, "members": 2, "vnodes": 1, "vregions": 1, "memory_capacity_bytes": 4 << 30, "memory_promised_bytes": 1 << 30, "events_total": 3} {
		if got := count()["splitvm_global_"+name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// sample is a leader's state as it is after some placements, without etcd.
func sample(t *testing.T) *leader {
	t.Helper()
	l := newLeader(t.Context(), &Config{}, nil)
	l.members[1] = &member{Member: &api.Member{Id: 1, Role: api.Role_ROLE_MEMORY, Capacity: &api.Resources{MemoryBytes: 4 << 30}}}
	l.members[2] = &member{Member: &api.Member{Id: 2, Role: api.Role_ROLE_PROCESSOR}}
	l.vnodes[1] = &api.VNode{Id: 1, State: api.VNodeState_VNODE_STATE_RUNNING}
	l.vregions[1] = []*api.VRegion{{Id: 9, Vnode: 1, Bytes: 1 << 30, Owners: []uint64{1}}}
	l.known[9] = l.vregions[1][0]
	l.counts["event"] = 3
	return l
}
