package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
)

// engine is a disk that takes requests.
type engine interface {
	submit(ctx context.Context, write bool, off uint64, p []byte, done func(error))
}

// localFile is the VMM's alternative: system calls on a file, from a pool.
type localFile struct {
	f    *os.File
	work chan func()
}

func (l *localFile) submit(_ context.Context, write bool, off uint64, p []byte, done func(error)) {
	l.work <- func() {
		var err error
		if write {
			_, err = l.f.WriteAt(p, int64(off))
		} else {
			_, err = l.f.ReadAt(p, int64(off))
		}
		done(err)
	}
}

func newLocalFile(t testing.TB, file string) *localFile {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &localFile{f: f, work: make(chan func(), 64)}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for do := range l.work {
				do()
			}
		})
	}
	t.Cleanup(func() {
		close(l.work)
		workers.Wait()
		f.Close()
	})
	return l
}

// farVolume is a volume at a monitor.
type farVolume struct {
	v    *blockclient.Volume
	free sync.Pool
}

func (f *farVolume) submit(_ context.Context, write bool, off uint64, p []byte, done func(error)) {
	r, _ := f.free.Get().(*blockclient.Request)
	if r == nil {
		r = new(blockclient.Request)
	}
	*r = blockclient.Request{Op: blockwire.Read, Offset: off, Length: uint64(len(p)), Memory: append(r.Memory[:0], p)}
	if write {
		r.Op = blockwire.Write
	}
	r.Done = func(r *blockclient.Request) {
		err := r.Err
		f.free.Put(r)
		done(err)
	}
	f.v.Submit(r)
}

// load is a pattern of requests.
type load struct {
	name  string
	size  int
	depth int
	write bool
	seq   bool
}

// run keeps depth requests under way for some time and returns each one's latency.
func (l load) run(t testing.TB, e engine, disk uint64, seed uint64, d time.Duration) []time.Duration {
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	next, end := uint64(0), time.Now().Add(d)
	rng := rand.New(rand.NewPCG(seed, 1))
	place := func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		if l.seq {
			next = (next + uint64(l.size)) % (disk - uint64(l.size))
			return next &^ uint64(l.size-1)
		}
		return rng.Uint64N(disk/uint64(l.size)) * uint64(l.size)
	}
	for range l.depth {
		wg.Add(1)
		buf := make([]byte, l.size)
		var began time.Time
		var again func(error)
		again = func(err error) {
			now := time.Now()
			if err != nil {
				t.Error(err)
			}
			if !began.IsZero() {
				mu.Lock()
				took = append(took, now.Sub(began))
				mu.Unlock()
			}
			if now.After(end) || err != nil {
				wg.Done()
				return
			}
			began = now
			e.submit(context.Background(), l.write, place(), buf, again)
		}
		again(nil)
	}
	wg.Wait()
	return took
}

// TestRates compares a volume over TCP with a local file and with qemu-nbd, in
// turns, through the same kind of client. SPLITVM_BENCH=1.
func TestRates(t *testing.T) {
	if os.Getenv("SPLITVM_BENCH") == "" {
		t.Skip("set SPLITVM_BENCH=1")
	}
	const disk = 256 << 20
	runtime.GOMAXPROCS(runtime.NumCPU() + spareProcs)
	dir := t.TempDir()
	for _, name := range []string{"local", "nbd"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, disk), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := newProcessAt(t, freePort(t))
	create(t, p.address(), "v", 1, disk)
	v := open(t, blockclient.Config{Monitors: []string{p.address()}, Name: "v"})
	defer v.Close()
	engines := []struct {
		name string
		engine
	}{{"local", newLocalFile(t, filepath.Join(dir, "local"))}, {"nbd", startNBD(t, filepath.Join(dir, "nbd"))}, {"volume", &farVolume{v: v}}}
	for _, e := range engines { // everything is there, and in the page cache
		fill := load{"", 1 << 20, 1, true, true}
		for off := uint64(0); off < disk; off += 1 << 20 {
			done := make(chan error)
			buf := make([]byte, fill.size)
			rand.NewChaCha8([32]byte{byte(off >> 20)}).Read(buf)
			e.submit(context.Background(), true, off, buf, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, l := range []load{
		{"4 KiB random read, depth 1", 4096, 1, false, false}, {"4 KiB random write, depth 1", 4096, 1, true, false},
		{"4 KiB random read, depth 32", 4096, 32, false, false}, {"4 KiB random write, depth 32", 4096, 32, true, false},
		{"128 KiB sequential read, depth 4", 128 << 10, 4, false, true}, {"128 KiB sequential write, depth 4", 128 << 10, 4, true, true},
	} {
		all := map[string][]time.Duration{}
		for round := range uint64(5) {
			for _, e := range engines {
				all[e.name] = append(all[e.name], l.run(t, e, disk, round, 300*time.Millisecond)...)
			}
		}
		line := fmt.Sprintf("%-34s", l.name)
		for _, e := range engines {
			took := all[e.name]
			slices.Sort(took)
			line += fmt.Sprintf("  %s %6.0f/s p50 %5.0f p99 %6.0f us", e.name, float64(len(took))/1.5,
				took[len(took)/2].Seconds()*1e6, took[len(took)*99/100].Seconds()*1e6)
		}
		volume := float64(len(all["volume"]))
		t.Logf("%s  volume/local %.2f volume/nbd %.2f", line, volume/float64(len(all["local"])), volume/float64(len(all["nbd"])))
	}
}

func freePort(t testing.TB) string {
	free, err := transport.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return free[0]
}
