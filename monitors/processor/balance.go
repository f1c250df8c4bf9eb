package processor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"splitvm/ept"
	"splitvm/monitors/processor/share"
)

// balanceTime is how often the ExCache is divided anew.
const balanceTime = 2 * time.Second

// nudge has the ExCache divided soon.
func (m *monitor) nudge() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// balance divides the ExCache among the runs until ctx ends.
func (m *monitor) balance(ctx context.Context) {
	tick := time.NewTicker(balanceTime)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		case <-tick.C:
		}
		now := time.Now()
		m.divide(ctx, now.Sub(last))
		last = now
	}
}

// divide sets every run's ExCache: first those that shrink, so that the budget
// is kept.
func (m *monitor) divide(ctx context.Context, since time.Duration) {
	m.mu.Lock()
	var runs []*run
	for _, r := range m.runs {
		if r.proc != nil {
			runs = append(runs, r)
		}
	}
	m.mu.Unlock()
	var vnodes []share.VNode
	for _, r := range runs {
		e := r.vnode.Spec.Excache
		vnodes = append(vnodes, share.VNode{Floor: e.FloorBytes, Limit: e.LimitBytes, Weight: uint64(e.Weight), Misses: m.misses(ctx, r, since)})
	}
	sizes := share.Divide(m.cfg.ExCache, vnodes)
	for _, grow := range []bool{false, true} {
		for i, r := range runs {
			if now := r.size(); worth(now, sizes[i]) && sizes[i] > now == grow {
				m.resize(ctx, r, sizes[i])
			}
		}
	}
}

// worth tells whether a change is large enough to be made: a sixteenth.
func worth(now, want uint64) bool {
	d := max(now, want) - min(now, want)
	return d > now/16
}

func (r *run) size() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.excache
}

// misses is the run's misses a second since it was last looked at; 0 while its
// VMM does not answer.
func (m *monitor) misses(ctx context.Context, r *run, since time.Duration) float64 {
	var s struct {
		ExCache *ept.Stats `json:"excache"`
	}
	if err := m.ask(ctx, r, http.MethodGet, "/stats", nil, &s); err != nil || s.ExCache == nil || since <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := s.ExCache.Missed
	d := n - min(n, r.missed) // a new pager counts from 0
	r.missed = n
	return float64(d) / since.Seconds()
}

func (m *monitor) resize(ctx context.Context, r *run, size uint64) {
	if err := m.ask(ctx, r, http.MethodPost, "/excache", url.Values{"size": {strconv.FormatUint(size, 10)}}, nil); err != nil {
		m.log.Debug("resize the ExCache", "vID", r.vnode.Id, "err", err) // it starts or ends just now
		return
	}
	r.mu.Lock()
	r.excache = size
	r.mu.Unlock()
	m.log.Debug("ExCache resized", "vID", r.vnode.Id, "bytes", size)
}

// ask calls a VMM on its control socket.
func (m *monitor) ask(ctx context.Context, r *run, method, path string, form url.Values, into any) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", m.control(r.vnode))
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://vnode"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, strings.TrimSpace(string(body)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}
