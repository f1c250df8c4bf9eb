package memory_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/remote/wire"
)

// BenchmarkLines measures lines/s for batches of lines with many requests on the
// way, and how much processor time the monitor and the client spend on a line,
// by their user and system time. 1e9 / monitor-ns/line is lines/s per core.
func BenchmarkLines(b *testing.B) {
	for _, network := range []string{"tcp", "unix", "shm"} {
		for _, op := range []wire.Op{wire.Read, wire.Write} {
			for _, batch := range []int{1, 16, 64} {
				b.Run(fmt.Sprintf("%s/%v/batch=%d", network, op, batch), func(b *testing.B) {
					benchLines(b, network, op, batch, false)
				})
			}
		}
	}
	for _, op := range []wire.Op{wire.Read, wire.Write} {
		b.Run(fmt.Sprintf("tcp+sums/%v/batch=16", op), func(b *testing.B) { benchLines(b, "tcp", op, 16, true) })
	}
}

func benchLines(b *testing.B, network string, op wire.Op, batch int, sums bool) {
	listen := "127.0.0.1:0"
	if network != "tcp" {
		listen = network + ":" + b.TempDir() + "/s"
	}
	mon := start(b, "monitor -mem 268435456 -listen "+listen)
	address := mon.addr
	if network != "tcp" {
		address = listen
	}
	c := connect(b, client.Config{Address: address, Checksums: sums})
	const lines = 16 << 10
	at := remote.Owned{VRegion: 1, Epoch: 1}
	if err := c.Create(b.Context(), at, lines); err != nil {
		b.Fatal(err)
	}
	fillAll(b, c, at, lines)
	flight := max(2, 256/batch)
	before, self := cpuOf(b, mon.cmd.Process.Pid), cpuOf(b, unix.Getpid())
	b.ResetTimer()
	stream(b, c, op, at, lines, batch, flight, b.N)
	b.StopTimer()
	moved := float64(b.N * batch)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(moved/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(float64((cpuOf(b, mon.cmd.Process.Pid)-before).Nanoseconds())/moved, "monitor-ns/line")
	b.ReportMetric(float64((cpuOf(b, unix.Getpid())-self).Nanoseconds())/moved, "client-ns/line")
}

// stream keeps flight requests on the way until n are done.
func stream(b *testing.B, c *client.Client, op wire.Op, at remote.Owned, lines, batch, flight, n int) {
	mem := mapped(b, flight*batch*remote.LineSize)
	done := make(chan struct{})
	issued, finished := 0, 0 // by the receiving thread, after the start
	next := 0
	again := func(r *client.Request) {
		r.Runs[0].First = remote.Line(next % lines)
		next += batch
		issued++
	}
	var rs []*client.Request
	for i := range min(flight, n) {
		r := &client.Request{Op: op, Class: wire.Bulk, At: at, Runs: []remote.Run{{Count: uint32(batch)}},
			Mem: [][]byte{mem[i*batch*remote.LineSize : (i+1)*batch*remote.LineSize]}}
		r.Done = func(r *client.Request) {
			if r.Err != nil {
				b.Error(r.Err)
			}
			if finished++; finished == n {
				close(done)
			}
			if issued < n {
				again(r)
				c.Submit(r)
			}
		}
		again(r)
		rs = append(rs, r)
	}
	c.SubmitAll(rs)
	<-done
}

func fillAll(tb testing.TB, c *client.Client, at remote.Owned, lines int) {
	mem := mapped(tb, remote.MaxBatch*remote.LineSize)
	for l := 0; l < lines; l += remote.MaxBatch {
		runs := []remote.Run{{First: remote.Line(l), Count: remote.MaxBatch}}
		if err := c.WriteLines(tb.Context(), at, runs, [][]byte{mem}); err != nil {
			tb.Fatal(err)
		}
	}
}

// mapped returns memory of a memfd, as a pager has it.
func mapped(tb testing.TB, size int) []byte {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		tb.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(mem) })
	return mem
}

// cpuOf returns the processor time of a process so far, from its clock
// (CLOCK_PROCESS_CPUTIME_ID of another process: see clock_getcpuclockid).
func cpuOf(tb testing.TB, pid int) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
