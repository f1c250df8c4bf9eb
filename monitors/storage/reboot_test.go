package storage

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
)

// rebooted is a monitor in this process, on a host that can be restarted.
type rebooted struct {
	t         testing.TB
	dir, sock string
	store     *Store
	stop      func()
}

func newRebooted(t testing.TB) *rebooted {
	dir := t.TempDir()
	r := &rebooted{t: t, dir: filepath.Join(dir, "data"), sock: filepath.Join(dir, "sock")}
	r.up(1)
	t.Cleanup(func() { r.stop() })
	if _, err := r.store.CreateVolume(context.Background(), 1, "v", rebootSize); err != nil {
		t.Fatal(err)
	}
	return r
}

const rebootSize = 16 * remote.BlockSize

// up starts the monitor in that life of its host.
func (r *rebooted) up(boot byte) {
	r.t.Helper()
	var err error
	if r.store, err = OpenStore(r.dir); err != nil {
		r.t.Fatal(err)
	}
	l, err := transport.Listen("unix:" + r.sock)
	if err != nil {
		r.t.Fatal(err)
	}
	data := newDataServer(r.store, quietLog())
	data.boot = [16]byte{boot}
	d, ended := newDoor(l, data.serve, quietLog()), make(chan error)
	go func() { ended <- d.run() }()
	r.stop = func() {
		d.Close()
		data.close()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
		if err := r.store.Close(); err != nil {
			r.t.Error(err)
		}
		r.stop = func() {}
	}
}

func (r *rebooted) config(more ...*rebooted) blockclient.Config {
	cfg := blockclient.Config{Monitors: []string{"unix:" + r.sock}, Name: "v", Log: quietLog(), Grace: ample}
	for _, o := range more {
		cfg.Monitors = append(cfg.Monitors, "unix:"+o.sock)
	}
	return cfg
}

// holds tells whether the monitor's volume begins with p.
func (r *rebooted) holds(p []byte) bool {
	r.t.Helper()
	v, err := r.store.Named("v")
	if err != nil {
		r.t.Fatal(err)
	}
	got := make([]byte, len(p))
	if err := v.Read(0, got, false); err != nil {
		r.t.Fatal(err)
	}
	return bytes.Equal(got, p)
}

// until waits for what is about to become true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(ample); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after %v", what, ample)
		}
	}
}

// begin starts a request and returns where it ends.
func begin(v *blockclient.Volume, r blockclient.Request) <-chan error {
	done := make(chan error, 1)
	r.Done = func(r *blockclient.Request) { done <- r.Err }
	v.Submit(&r)
	return done
}

func someBlock(b byte) blockclient.Request {
	p := bytes.Repeat([]byte{b}, remote.BlockSize)
	return blockclient.Request{Op: blockwire.Write, Length: remote.BlockSize, Memory: [][]byte{p}}
}

// What was answered and not flushed is lost with the host. A flush that waits for
// the monitor meanwhile must not be done by the next life, which has nothing to
// flush; if all was durable, nobody notices.
func TestRebootLosesUnflushed(t *testing.T) {
	for _, durable := range []bool{false, true} {
		r := newRebooted(t)
		v := open(t, r.config())
		write := someBlock(1)
		write.Durable = durable
		if err := <-begin(v, write); err != nil {
			t.Fatal(err)
		}
		r.stop()
		flush := begin(v, blockclient.Request{Op: blockwire.Flush})
		r.up(2)
		if err := <-flush; (remote.KindOf(err) != remote.Restarted) != durable || durable && err != nil {
			t.Errorf("flush in the next life, of a write that was durable: %v: %v", durable, err)
		}
		if err := v.Close(); durable && err != nil {
			t.Error(err)
		}
		r.stop()
	}
}

// Of two replicas one answers a write, and its host is restarted before the other
// has answered it. The write is done when the other has, but the first has lost
// it: it is no member before it has got it again.
func TestRebootOfOneReplica(t *testing.T) {
	away, lost := newRebooted(t), newRebooted(t)
	v := open(t, away.config(lost))
	write := someBlock(1)
	if err := doLength(v, blockwire.Flush, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	away.stop()
	wait := begin(v, write)
	until(t, "the replica that is there writes", func() bool { return lost.holds(write.Memory[0]) })
	lost.stop()
	forget(t, lost)
	lost.up(2)
	away.up(1)
	if err := <-wait; err != nil {
		t.Fatal(err)
	}
	if err := doLength(v, blockwire.Flush, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the replica that has lost a write has it", func() bool { return lost.holds(write.Memory[0]) })
	until(t, "both are members", func() bool {
		info, err := lost.store.InspectVolume(context.Background(), "v")
		return err == nil && len(info.Members) == 2
	})
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

// forget has the monitor, which is down, lose the first block.
func forget(t testing.TB, r *rebooted) {
	t.Helper()
	store, err := OpenStore(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := store.Named("v")
	if err == nil {
		err = v.Zero(v.record.Epoch, 0, remote.BlockSize)
	}
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
}
