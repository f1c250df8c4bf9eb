package rack

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// drainSize is how much the monitor holds that BenchmarkDrain drains, but for the
// guest's ExCache.
const drainSize = 4 << 30

// BenchmarkDrain drains a memory monitor that holds 4 GiB of two guests which verify
// them meanwhile. It reports the time against those of a plain copy of 4 GiB from one
// TCP socket of this host to another, beside the same guests just before and when the
// machine has nothing else to do; and the guests' lines a second during the drain
// against those before. It needs 10 GiB of memory.
func BenchmarkDrain(b *testing.B) {
	for b.Loop() {
		alone := tcpCopy(b)
		r, guests := filled(b)
		before := rate(guests, func() { time.Sleep(5 * time.Second) })
		var floor, took time.Duration
		beside := rate(guests, func() { floor = tcpCopy(b) })
		during := rate(guests, func() {
			began := time.Now()
			r.must("monitor", "drain", "memory-1")
			took = time.Since(began)
		})
		for _, v := range guests {
			v.verified(1)
		}
		r.empty()
		b.ReportMetric(took.Seconds(), "drain-s")
		b.ReportMetric(took.Seconds()/floor.Seconds(), "drain/copy-beside")
		b.ReportMetric(took.Seconds()/alone.Seconds(), "drain/copy-alone")
		b.ReportMetric(during/before, "guests-in-drain")
		b.ReportMetric(beside/before, "guests-in-copy")
	}
}

// filled is a rack whose memory-1 holds nearly all of two guests, and nothing else
// does; another monitor has as much room.
func filled(b *testing.B) (r *rack, guests []*verifier) {
	r = up(b, "--memories", "1", "--memory", "5G")
	for _, name := range []string{"v", "w"} { // a bare program has less than 3 GiB
		r.must("run", "--global", "auto", "--detach", "--name", name, "--bare", fmt.Sprintf("verify,in-order,writes=1,accesses=%d", uint64(1)<<40),
			"--mem", "2112M", "--vregion", "256M", "--excache", "64M")
		guests = append(guests, &verifier{r, name, 2112 << 8})
	}
	r.eventually("all of it is written", func() bool { return sum(r.held()) >= drainSize*0.98 })
	r.joined("spare", "5G")
	return r, guests
}

// rate is how many lines a second the guests fetch while do runs.
func rate(guests []*verifier, do func()) float64 {
	all := func() (n uint64) {
		for _, v := range guests {
			n += v.fetched()
		}
		return n
	}
	began, from := time.Now(), all()
	do()
	return float64(all()-from) / time.Since(began).Seconds()
}

// tcpCopy is how long a plain copy takes.
func tcpCopy(b *testing.B) time.Duration {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	sent := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			for buf, n := make([]byte, 1<<18), 0; n < drainSize && err == nil; n += len(buf) {
				_, err = c.Write(buf)
			}
			err = errors.Join(err, c.Close())
		}
		sent <- err
	}()
	began := time.Now()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	n := 0
	for buf := make([]byte, 1<<18); err == nil; {
		var got int
		got, err = c.Read(buf)
		n += got
	}
	if err != io.EOF || n != drainSize {
		b.Fatalf("%d bytes: %v", n, err)
	}
	took := time.Since(began)
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
	return took
}
