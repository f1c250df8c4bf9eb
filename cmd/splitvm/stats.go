package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"

	"splitvm/remote"
)

func statsCommand() *cli.Command {
	return &cli.Command{
		Name:      "stats",
		Usage:     "show how a running vNode's memory is served",
		ArgsUsage: "VNODE",
		Description: `Shows what the vNode has used and moved since its start, and since its pager
started the ExCache's contents, faults by what served them, and the latencies of
each stage. ` + "`splitvm top`" + ` shows rates, of all vNodes.

Examples:
   splitvm stats web1
   splitvm stats web1 -o json | jq .excache.miss
   curl --unix-socket /run/splitvm/web1.sock http://vnode/metrics    # for Prometheus; or run --metrics`,
		Flags: []cli.Flag{globalFlag(), outputFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			name, err := oneName(c)
			if err != nil {
				return err
			}
			var s vnodeStats
			if err := (runningVNodes{c}).call(ctx, name, http.MethodGet, "/stats", nil, &s); err != nil {
				return fmt.Errorf("stats: %w", err)
			}
			return print(c, s, statsTable(&s))
		},
	}
}

func resizeCommand() *cli.Command {
	return &cli.Command{
		Name:      "resize",
		Usage:     "change the ExCache of a running vNode",
		ArgsUsage: "VNODE",
		Description: `Takes effect at once; lines above a smaller size leave in the background while
the guest runs.

Example:
   splitvm resize web1 --excache 256M`,
		Flags: []cli.Flag{globalFlag(), &cli.StringFlag{Name: "excache", Required: true, Validator: sizeFlag, Usage: "new `SIZE`"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			name, err := oneName(c)
			if err != nil {
				return err
			}
			if err := (runningVNodes{c}).call(ctx, name, http.MethodPost, "/excache", url.Values{"size": {c.String("excache")}}, nil); err != nil {
				return fmt.Errorf("resize: %w", err)
			}
			return nil
		},
	}
}

func oneName(c *cli.Command) (string, error) {
	if c.Args().Len() != 1 || !nameOK(c.Args().First()) {
		return "", &exitError{exitUsage, fmt.Errorf("%s: give the name of one vNode (see `splitvm %s --help`)", c.Name, c.Name)}
	}
	return c.Args().First(), nil
}

// call asks a running vNode through its control socket.
func (v runningVNodes) call(ctx context.Context, name, method, path string, form url.Values, into any) error {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return v.dial(ctx, name) },
		DisableKeepAlives: true,
	}}
	err := callHTTP(ctx, &client, method, path, form, into)
	var failed *url.Error // which says what is known: the method and a made-up address
	if errors.As(err, &failed) {
		return failed.Err
	}
	if err != nil {
		return fmt.Errorf("vNode %s: %w", name, err)
	}
	return nil
}

// callHTTP asks a vNode with which the client connects.
func callHTTP(ctx context.Context, client *http.Client, method, path string, form url.Values, into any) error {
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
		return errors.New(strings.TrimSpace(string(body)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

func statsTable(s *vnodeStats) table {
	t := table{head: []string{"WHAT", "VALUE", ""}}
	add := func(what, value, note string) { t.rows = append(t.rows, []string{what, value, note}) }
	add("vnode", s.Name, fmt.Sprintf("pid %d, %d vCPUs, up %v", s.PID, s.VCPUs, time.Duration(s.Uptime*1e9).Round(time.Second)))
	add("memory", units.BytesSize(float64(s.Memory)), "")
	add("cpu", time.Duration(s.CPU*1e9).Round(time.Millisecond).String(), "of vCPUs and devices")
	for _, x := range []struct {
		what, out string
		t         *traffic
	}{{"disks", "written", s.Disk}, {"network", "sent", s.Net}} {
		if x.t != nil {
			add(x.what, units.BytesSize(float64(x.t.In)), fmt.Sprintf("in; %s %s", units.BytesSize(float64(x.t.Out)), x.out))
		}
	}
	for _, c := range s.Caches {
		hit := 100 * float64(c.Hit) / max(float64(c.Hit+c.Missed), 1)
		add("cache "+c.Volume, units.BytesSize(float64(c.Capacity)), fmt.Sprintf("%s used, %s dirty, %s written back; %.0f %% of %s read came from it",
			units.BytesSize(float64(c.Held)), units.BytesSize(float64(c.Dirty)), units.BytesSize(float64(c.Sent)), hit, units.BytesSize(float64(c.Hit+c.Missed))))
	}
	e := s.ExCache
	if e == nil {
		add("excache", "none", "the memory is local")
		return t
	}
	lines := func(n int64) string { return units.BytesSize(float64(n) * remote.LineSize) }
	add("excache", lines(e.Capacity), fmt.Sprintf("%s used, %s dirty", lines(e.Used), lines(e.Dirty)))
	for _, k := range faultKinds(e.Stats) {
		add("faults "+k.name, strconv.FormatUint(k.count, 10), k.means)
	}
	add("evicted", lines(int64(e.Evicted)), fmt.Sprintf("%s written back in %d messages, %d lines found zero", lines(int64(e.WrittenBack)), e.WriteMessages, e.ZeroLines))
	add("fetched", units.BytesSize(float64(e.Read)), fmt.Sprintf("%s of it ahead, of which %.0f %% were used", lines(int64(e.Ahead)), 100*e.Accuracy))
	for _, st := range stages(e.Stats) {
		if st.q.Count > 0 {
			add(st.name, time.Duration(st.q.P50).String(), fmt.Sprintf("p50; p99 %v, p99.9 %v, %d times", time.Duration(st.q.P99), time.Duration(st.q.P999), st.q.Count))
		}
	}
	add("pager restarts", strconv.Itoa(s.Pagers), "")
	return t
}
