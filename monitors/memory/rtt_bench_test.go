package memory_test

import (
	"io"
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
// machine's mood changes. All receive into pages of a memfd that are not there
// yet, as a pager does. It reports quantiles, and their ratio to the raw
// ping-pong's.
func BenchmarkReadRTT(b *testing.B) {
	raw, netEcho := start(b, "echo raw"), start(b, "echo net")
	mon := start(b, "monitor")
	spinner := start(b, "monitor -spin 50us")
	shmMon := start(b, "monitor -listen shm:"+b.TempDir()+"/m")
	unixMon := start(b, "monitor -listen unix:"+b.TempDir()+"/s")
	kinds := []*rtt{
		{name: "raw-pingpong", run: rawPingPong(b, raw.addr)},
		{name: "net-pingpong", run: netPingPong(b, netEcho.addr)},
		{name: "tcp", run: asyncReads(b, client.Config{Address: mon.addr})},
		{name: "tcp-sums", run: asyncReads(b, client.Config{Address: mon.addr, Checksums: true})},
		{name: "unix", run: asyncReads(b, client.Config{Address: "unix:" + unixMon.addr})},
		{name: "shm", run: asyncReads(b, client.Config{Address: "shm:" + shmMon.addr})},
		{name: "shm-sums", run: asyncReads(b, client.Config{Address: "shm:" + shmMon.addr, Checksums: true})},
		{name: "tcp-spin", run: asyncReads(b, client.Config{Address: spinner.addr, Spin: 50 * time.Microsecond})},
		{name: "tcp-sync", run: syncReads(b, client.Config{Address: mon.addr})},
	}
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

// turn is how many round trips are made in a row.
const turn = 500

// freshPages returns a function that gives memory of a memfd whose pages are not
// there, for a turn.
func freshPages(tb testing.TB) func() []byte {
	mem := mapped(tb, turn*remote.LineSize)
	return func() []byte {
		if err := unix.Madvise(mem, unix.MADV_REMOVE); err != nil {
			tb.Fatal(err)
		}
		return mem
	}
}

// page returns page i of mem.
func page(mem []byte, i int) []byte { return mem[i*remote.LineSize:][:remote.LineSize] }

func rawPingPong(tb testing.TB, addr string) func([]time.Duration) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	fd := blockingFD(c)
	tb.Cleanup(func() { unix.Close(fd) })
	head := make([]byte, requestBytes)
	pages := freshPages(tb)
	return func(d []time.Duration) {
		mem := pages()
		iov := make([][]byte, 2)
		for i := range d {
			t := time.Now()
			unix.Write(fd, head)
			iov[0], iov[1] = head, page(mem, i)
			k, err := unix.Readv(fd, iov)
			for k < answerBytes && k > 0 && err == nil {
				var n int
				n, err = unix.Read(fd, page(mem, i)[max(0, k-requestBytes):])
				k += n
			}
			if k != answerBytes || err != nil {
				tb.Fatal(k, err)
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
	head := make([]byte, requestBytes)
	pages := freshPages(tb)
	return func(d []time.Duration) {
		mem := pages()
		for i := range d {
			t := time.Now()
			c.Write(head)
			for _, part := range [][]byte{head, page(mem, i)} {
				if _, err := io.ReadFull(c, part); err != nil {
					tb.Fatal(err)
				}
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
		Runs: []remote.Run{{First: 1, Count: 1}}, Mem: make([][]byte, 1),
	}
	pages := freshPages(tb)
	return func(d []time.Duration) {
		mem := pages()
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
			r.Mem[0] = page(mem, i)
			t = time.Now()
			c.Submit(r)
		}
		r.Mem[0] = page(mem, 0)
		t = time.Now()
		c.Submit(r)
		<-done
	}
}

func syncReads(tb testing.TB, cfg client.Config) func([]time.Duration) {
	c := connect(tb, cfg)
	at := oneLine(tb, c)
	pages := freshPages(tb)
	return func(d []time.Duration) {
		mem := pages()
		for i := range d {
			t := time.Now()
			if _, err := c.ReadLines(tb.Context(), at, []remote.Run{{First: 1, Count: 1}}, [][]byte{page(mem, i)}); err != nil {
				tb.Fatal(err)
			}
			d[i] = time.Since(t)
		}
	}
}
