package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/remote/remotetest"
	"splitvm/remote/volumes"
	"splitvm/remote/wire"
)

func quietLog() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// start runs a monitor in this process and returns its address and how to stop it.
func start(t testing.TB, dir, listen string) (address string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan []net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Listen: []string{listen}, Data: dir, Log: quietLog(), Ready: func(a []net.Addr) { ready <- a }})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("monitor: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case a := <-ready:
		if a[0].Network() == "unix" {
			return "unix:" + a[0].String(), stop
		}
		return a[0].String(), stop
	case err := <-ended:
		t.Fatalf("monitor: %v", err)
	}
	return "", nil
}

func dialControl(t testing.TB, address string) *volumes.Client {
	t.Helper()
	c, err := volumes.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func create(t testing.TB, address, name string, id remote.VolumeID, size uint64) {
	t.Helper()
	if _, err := dialControl(t, address).CreateVolume(context.Background(), id, name, size); err != nil {
		t.Fatal(err)
	}
}

// ample is what only a hang exceeds, on a busy machine too.
const ample = 2 * time.Minute

func open(t testing.TB, cfg blockclient.Config) *blockclient.Volume {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = ample
	}
	if cfg.Log == nil {
		cfg.Log = quietLog()
	}
	v, err := blockclient.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// do runs one request.
func do(v *blockclient.Volume, op wire.Op, off uint64, p []byte) error {
	return doLength(v, op, off, uint64(len(p)), p)
}

func doLength(v *blockclient.Volume, op wire.Op, off, n uint64, p []byte) error {
	done := make(chan error, 1)
	r := &blockclient.Request{Op: op, Offset: off, Length: n, Done: func(r *blockclient.Request) { done <- r.Err }}
	if p != nil {
		r.Memory = [][]byte{p[:len(p)/2], p[len(p)/2:]}
	}
	v.Submit(r)
	return <-done
}

func TestControlContract(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	remotetest.Volumes(t, s)
}

func TestControlContractOverGRPC(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		address, _ := start(t, t.TempDir(), listen)
		remotetest.Volumes(t, dialControl(t, address))
	}
}

// model is what a volume should hold.
type model struct {
	t    testing.TB
	v    *blockclient.Volume
	want []byte
	rng  *rand.Rand
}

func (m *model) must(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
}

// step does something at random.
func (m *model) step() {
	m.t.Helper()
	sectors := uint64(len(m.want) / remote.SectorSize)
	n := 1 + m.rng.Uint64N(min(sectors, 300))
	at := m.rng.Uint64N(sectors - n + 1)
	if m.rng.IntN(2) == 0 { // whole blocks
		at, n = at&^7, (n+7)&^7
		n = min(n, sectors-at)
	}
	off, size := at*remote.SectorSize, n*remote.SectorSize
	switch part := m.want[off : off+size]; m.rng.IntN(8) {
	case 0:
		m.must("zeroes", doLength(m.v, blockwire.Zeroes, off, size, nil))
		clear(part)
	case 1:
		m.must("discard", doLength(m.v, blockwire.Discard, off, size, nil))
		clear(part)
	case 2:
		m.must("flush", doLength(m.v, blockwire.Flush, 0, 0, nil))
	case 3, 4:
		got := make([]byte, size)
		m.must("read", do(m.v, blockwire.Read, off, got))
		if !bytes.Equal(got, part) {
			m.t.Fatalf("read of %d bytes at %d: not what was written", size, off)
		}
	default:
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(m.rng.Uint32())
		}
		m.must("write", do(m.v, blockwire.Write, off, data))
		copy(part, data)
	}
}

func (m *model) verify() {
	m.t.Helper()
	got := make([]byte, len(m.want))
	for off := 0; off < len(got); off += remote.MaxBlockIO {
		m.must("read", do(m.v, blockwire.Read, uint64(off), got[off:min(off+remote.MaxBlockIO, len(got))]))
	}
	if !bytes.Equal(got, m.want) {
		m.t.Fatal("the volume is not what was written")
	}
}

// Data of every shape, over TCP and unix sockets, with snapshots, clones and
// restarts of the monitor.
func TestData(t *testing.T) {
	const size = 3<<20 + 8192
	ctx := context.Background()
	for _, listen := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		dir := t.TempDir()
		address, stop := start(t, dir, listen)
		create(t, address, "v", 1, size)
		m := &model{t: t, want: make([]byte, size), rng: rand.New(rand.NewPCG(1, 2))}
		m.v = open(t, blockclient.Config{Monitors: []string{address}, Name: "v"})
		for range 300 {
			m.step()
		}
		m.verify()
		control := dialControl(t, address)
		_, err := control.SnapshotVolume(ctx, "v", 2, "snap")
		m.must("snapshot", err)
		then := bytes.Clone(m.want)
		_, err = control.CloneVolume(ctx, "v", 3, "clone")
		m.must("clone", err)
		for range 300 {
			m.step()
		}
		m.verify()
		m.must("close", m.v.Close())
		stop()

		address, _ = start(t, dir, listen)
		control = dialControl(t, address)
		m.v = open(t, blockclient.Config{Monitors: []string{address}, Name: "v"})
		m.verify()
		snap := &model{t: t, want: then, v: open(t, blockclient.Config{Monitors: []string{address}, Name: "snap"})}
		snap.verify()
		if err := do(snap.v, blockwire.Write, 0, make([]byte, 4096)); !errors.Is(err, remote.ReadOnly) {
			t.Errorf("write to a snapshot: %v", err)
		}
		clone := &model{t: t, want: bytes.Clone(then), rng: m.rng, v: open(t, blockclient.Config{Monitors: []string{address}, Name: "clone"})}
		clone.verify()
		for range 100 {
			clone.step()
			m.step()
		}
		clone.verify()
		m.verify()
		snap.verify()
		for _, name := range []string{"v", "snap", "clone"} {
			r, err := control.ScrubVolume(ctx, name)
			if err != nil || len(r.Damaged) > 0 || r.Checked == 0 {
				t.Errorf("scrub of %s: %+v, %v", name, r, err)
			}
		}
		m.verify()
		m.must("close", m.v.Close())
		m.must("close", snap.v.Close())
		m.must("close", clone.v.Close())
		m.must("delete", control.DeleteVolume(ctx, "v"))
		snap.v = open(t, blockclient.Config{Monitors: []string{address}, Name: "snap"})
		snap.verify()
		m.must("close", snap.v.Close())
	}
}

// One writer: a second one is refused, unless it steals the volume, and then the
// first can't write any more.
func TestOneWriter(t *testing.T) {
	address, _ := start(t, t.TempDir(), "127.0.0.1:0")
	create(t, address, "v", 1, 1<<20)
	cfg := blockclient.Config{Monitors: []string{address}, Name: "v", Log: quietLog()}
	first := open(t, cfg)
	defer first.Close()
	if _, err := blockclient.Open(context.Background(), cfg); !errors.Is(err, remote.Busy) {
		t.Fatalf("second writer: %v", err)
	}
	if err := dialControl(t, address).DeleteVolume(context.Background(), "v"); !errors.Is(err, remote.Busy) {
		t.Fatalf("delete of a volume in use: %v", err)
	}
	reader := cfg
	reader.ReadOnly = true
	r := open(t, reader)
	if err := do(r, blockwire.Read, 0, make([]byte, 4096)); err != nil {
		t.Errorf("reader beside the writer: %v", err)
	}
	r.Close()
	cfg.Steal = true
	second := open(t, cfg)
	if err := do(first, blockwire.Write, 0, make([]byte, 4096)); !errors.Is(err, remote.StaleEpoch) {
		t.Errorf("write of one that was stolen from: %v", err)
	}
	if err := do(second, blockwire.Write, 0, make([]byte, 4096)); err != nil {
		t.Errorf("write of the thief: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// A monitor that is restarted, or gone for a while, is not noticed but by time; one
// that stays away is an error at the deadline.
func TestReconnect(t *testing.T) {
	dir, sock := t.TempDir(), "unix:"+filepath.Join(t.TempDir(), "s")
	address, stop := start(t, dir, sock)
	create(t, address, "v", 1, 1<<20)
	m := &model{t: t, want: make([]byte, 1<<20), rng: rand.New(rand.NewPCG(3, 4))}
	m.v = open(t, blockclient.Config{Monitors: []string{address}, Name: "v"})
	for range 5 {
		var steps sync.WaitGroup
		steps.Go(func() {
			for range 60 {
				m.step()
			}
		})
		stop()
		address, stop = start(t, dir, sock)
		steps.Wait()
	}
	m.verify()
	m.must("close", m.v.Close())
	v := open(t, blockclient.Config{Monitors: []string{address}, Name: "v", Timeout: time.Second})
	stop()
	if err := do(v, blockwire.Read, 0, make([]byte, 4096)); !errors.Is(err, remote.Timeout) {
		t.Errorf("read of a monitor that is gone: %v", err)
	}
	v.Close()
}
