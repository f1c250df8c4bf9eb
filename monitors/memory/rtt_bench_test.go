package memory_test

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/remote/wire"
)

// A rtt measures n round trips of one 4 KiB line.
type rtt struct {
	name string
	run  func(d []time.Duration)
	took []time.Duration
}

// BenchmarkReadRTT measures single reads against bare ping-pongs of the same
// sizes, each with its server in another process, in turns of 500, since the
// machine's mood changes. It reports quantiles, and their ratio to the raw
// ping-pong's.
func BenchmarkReadRTT(b *testing.B) {
	raw, netEcho := start(b, "echo raw"), start(b, "echo net")
	mon := start(b, "monitor")
	unixMon := start(b, "monitor -listen unix:"+b.TempDir()+"/s")
	kinds := []*rtt{
		{name: "raw-pingpong", run: rawPingPong(b, raw.addr)},
		{name: "net-pingpong", run: netPingPong(b, netEcho.addr)},
		{name: "tcp", run: asyncReads(b, client.Config{Address: mon.addr})},
		{name: "tcp-sums", run: asyncReads(b, client.Config{Address: mon.addr, Checksums: true})},
		{name: "unix", run: asyncReads(b, client.Config{Address: "unix:" + unixMon.addr})},
		{name: "tcp-sync", run: syncReads(b, client.Config{Address: mon.addr})},
	}
	const turn = 500
	d := make([]time.Duration, turn)
	for _, k := range kinds {
		k.run(d) // warm up
	}
	b.ResetTimer()
	for n := 0; n < b.N; n += turn {
		for _, k := range kinds {
			k.run(d)
			k.took = append(k.took, d...)
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	base := kinds[0]
	for _, k := range kinds {
		slices.Sort(k.took)
	}
	for _, k := range kinds {
		for _, q := range []struct {
			name string
			at   float64
		}{{"p50", 0.5}, {"p99", 0.99}} {
			i := int(q.at * float64(len(k.took)))
			b.ReportMetric(float64(k.took[i].Nanoseconds())/1e3, k.name+"-"+q.name+"-us")
			if k != base {
				b.ReportMetric(float64(k.took[i])/float64(base.took[i]), k.name+"-"+q.name+"-ratio")
			}
		}
	}
}

func rawPingPong(tb testing.TB, addr string) func([]time.Duration) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	fd := blockingFD(c)
	tb.Cleanup(func() { unix.Close(fd) })
	buf := make([]byte, answerBytes)
	return func(d []time.Duration) {
		for i := range d {
			t := time.Now()
			unix.Write(fd, buf[:requestBytes])
			for got := 0; got < len(buf); {
				k, err := unix.Read(fd, buf[got:])
				if err != nil || k == 0 {
					tb.Fatal(k, err)
				}
				got += k
			}
			d[i] = time.Since(t)
		}
	}
}

func netPingPong(tb testing.TB, addr string) func([]time.Duration) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	buf := make([]byte, answerBytes)
	return func(d []time.Duration) {
		for i := range d {
			t := time.Now()
			c.Write(buf[:requestBytes])
			for got := 0; got < len(buf); {
				k, err := c.Read(buf[got:])
				if err != nil {
					tb.Fatal(err)
				}
				got += k
			}
			d[i] = time.Since(t)
		}
	}
}

// oneLine makes a vRegion with one line that is held.
func oneLine(tb testing.TB, c *client.Client) remote.Owned {
	at := remote.Owned{VRegion: remote.VRegionID(time.Now().UnixNano()), Epoch: 1}
	if err := c.Create(tb.Context(), at, 16); err != nil {
		tb.Fatal(err)
	}
	if err := c.WriteLines(tb.Context(), at, []remote.Run{{First: 1, Count: 1}}, [][]byte{make([]byte, remote.LineSize)}); err != nil {
		tb.Fatal(err)
	}
	return at
}

// asyncReads submits the next read from Done of the one before, as a pager would
// with the next fault in its queue.
func asyncReads(tb testing.TB, cfg client.Config) func([]time.Duration) {
	c := connect(tb, cfg)
	r := &client.Request{
		Op: wire.Read, Class: wire.Demand, At: oneLine(tb, c),
		Runs: []remote.Run{{First: 1, Count: 1}}, Mem: [][]byte{make([]byte, remote.LineSize)},
	}
	return func(d []time.Duration) {
		done := make(chan struct{})
		i := 0
		var t time.Time
		r.Done = func(r *client.Request) {
			d[i] = time.Since(t)
			if r.Err != nil || !r.Zero.None() {
				tb.Error(r.Err, r.Zero)
			}
			if i++; i == len(d) {
				close(done)
				return
			}
			t = time.Now()
			c.Submit(r)
		}
		t = time.Now()
		c.Submit(r)
		<-done
	}
}

func syncReads(tb testing.TB, cfg client.Config) func([]time.Duration) {
	c := connect(tb, cfg)
	at := oneLine(tb, c)
	mem := [][]byte{make([]byte, remote.LineSize)}
	return func(d []time.Duration) {
		for i := range d {
			t := time.Now()
			if _, err := c.ReadLines(tb.Context(), at, []remote.Run{{First: 1, Count: 1}}, mem); err != nil {
				tb.Fatal(err)
			}
			d[i] = time.Since(t)
		}
	}
}
