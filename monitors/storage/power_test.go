package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"splitvm/integration/powercut"
	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
)

const lieEnv = "SPLITVM_STORAGE_TEST_LIE"

// The power of a storage monitor's host goes at random points under writers that
// verify, and under volumes that are made, copied, resized and deleted: every
// flushed write is there, no block is older than its last flush, every volume is
// as the last answer said, nothing is damaged.
func TestPowerLoss(t *testing.T) {
	if dir := powercut.Alone(t); dir != "" {
		powerLoss(t, dir, powercut.Ext4, powercut.Config{}, rounds(12, 1000))
	}
}

// TestPowerLossOnXFS is the same on another file system.
func TestPowerLossOnXFS(t *testing.T) {
	powercut.XFS.Need(t)
	if dir := powercut.Alone(t); dir != "" {
		powerLoss(t, dir, powercut.XFS, powercut.Config{}, rounds(3, 100))
	}
}

// TestPowerLossNoticed: on a disk that loses what was flushed, TestPowerLoss
// fails. Each round notices it with a chance of about one in ten; a machine that is
// busy gets less into a round.
func TestPowerLossNoticed(t *testing.T) {
	if os.Getenv(lieEnv) != "" {
		powerLoss(t, powercut.Alone(t), powercut.Ext4, powercut.Config{LoseFlushes: 0.5}, 400)
		return
	}
	out, err := powercut.Again(t, lieEnv+"=1")
	if err == nil || !bytes.Contains(out, []byte("in round ")) {
		t.Errorf("a disk that loses flushes: %v, want a failure\n%s", err, out)
	}
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("in round ")) {
			t.Logf("noticed: %s", line)
		}
	}
}

// powerWorld is a host with a monitor, and what its volumes must be.
type powerWorld struct {
	t     testing.TB
	rng   *rand.Rand
	host  *powercut.Host
	disk  *powercut.Disk
	p     *process
	blown <-chan struct{}

	v         *powerVolume // the one that is written all the time
	client    *blockclient.Volume
	operators []*operator

	ctx     context.Context // of operators' control, until the power goes
	cancel  context.CancelFunc
	pause   atomic.Bool // whoever is at work ends with what it is at
	dark    atomic.Bool // the power is about to go, or has gone
	durable bool        // all changes of this session are durable by themselves
	lost    atomic.Bool // the client of v was told that unflushed writes were lost
	working sync.WaitGroup
	fresh   int // rounds since v was made
	counts  powerCounts
}

// powerCounts is what was seen, to tell that there was something to see.
type powerCounts struct {
	rounds, starting, verified, blocks, lost, disk int
	operations                                     atomic.Int64
}

// powerVolume is a volume as it must be.
type powerVolume struct {
	name     string
	id       remote.VolumeID
	readOnly bool
	pasts    *pasts
}

func (v *powerVolume) size() uint64 { return uint64(len(v.pasts.blocks)) * remote.BlockSize }

const (
	powerWriters = 6
	powerBlocks  = 48 // of each
)

func powerLoss(t *testing.T, dir string, fs powercut.FileSystem, cfg powercut.Config, rounds int) {
	host, err := powercut.NewHost(filepath.Join(dir, "host"), fs, cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &powerWorld{t: t, rng: rand.New(rand.NewPCG(11, 11)), host: host}
	w.p = &process{t: t, dir: filepath.Join(host.Data(), "monitor"), listen: "unix:" + filepath.Join(dir, "sock")}
	t.Cleanup(w.p.kill)
	for i := range 2 {
		w.operators = append(w.operators, newOperator(w, i))
	}
	for round := range rounds {
		if err := w.round(round); err != nil {
			t.Fatalf("in round %d: %v", round, err)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	c := &w.counts
	t.Logf("%d rounds, %d of them while the monitor started: %d volumes and %d blocks verified, %d operations on volumes; %d times a writer was told that unflushed writes were lost; %d writes and flushes of the disk",
		c.rounds, c.starting, c.verified, c.blocks, c.operations.Load(), c.lost, c.disk)
}

// round is one life of the host.
func (w *powerWorld) round(n int) error {
	w.counts.rounds++
	life.Store(int64(n))
	var err error
	if w.disk, err = w.host.Up(); err != nil {
		return err
	}
	options := []string{"discard", "nodiscard"}[w.rng.IntN(2)]
	w.p.on = func(cmd *exec.Cmd) error { return w.host.On(cmd, options) }
	if n > 0 && w.rng.IntN(5) == 0 {
		w.counts.starting++
		w.arm(12)
		w.p.launch()
		return w.loseAfter(200 * time.Millisecond)
	}
	w.p.launch()
	if err := w.p.ready(); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	if err := w.prepare(n); err != nil {
		return err
	}
	w.arm(300)
	w.work()
	return w.loseAfter(400 * time.Millisecond)
}

// arm has the power go at one of the next operations of the disk: as likely at one
// of the first 10 as at one of the last 90 %.
func (w *powerWorld) arm(most float64) {
	n := 1
	for f := most; f > 1 && w.rng.IntN(3) > 0; f /= 4 {
		n += w.rng.IntN(int(f))
	}
	w.blown = w.disk.Arm(n, w.rng)
}

// loseAfter waits until the power goes, and sees to it that it does.
func (w *powerWorld) loseAfter(most time.Duration) error {
	select {
	case <-w.blown:
	case <-time.After(most):
	}
	w.dark.Store(true)
	err := losePower(w.host, w.p, w.rng)
	s := w.disk.Stats()
	w.counts.disk += s.Writes + s.Discards + s.Flushes
	w.pause.Store(true)
	if w.cancel != nil {
		w.cancel()
	}
	return err
}

// losePower cuts the power, or takes note that it was cut, and ends the monitor.
func losePower(h *powercut.Host, p *process, rng *rand.Rand) error {
	h.Cut(rng)
	h.Kill(p.cmd)
	h.Discard()
	p.wait()
	return h.Down()
}

// settle ends what was at work when the power went, now that the monitor is there
// again, and verifies everything.
func (w *powerWorld) settle() error {
	if w.client != nil { // who would not end without its volume
		if _, err := dialControl(w.t, w.p.address()).InspectVolume(context.Background(), w.v.name); err != nil {
			return fmt.Errorf("volume %s is lost: %w", w.v.name, err)
		}
	}
	ended := make(chan struct{})
	go func() { w.working.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(ample):
		return errors.New("writers hang")
	}
	if w.t.Failed() {
		return errors.New("a writer failed")
	}
	if err := w.verify(); err != nil {
		return err
	}
	if w.lost.Load() && w.durable {
		return errors.New("a writer was told of lost writes, but each was durable when it was answered")
	}
	return nil
}

// prepare has v open for the session.
func (w *powerWorld) prepare(n int) error {
	if w.client != nil && (w.lost.Load() || w.fresh > 8 || w.rng.IntN(4) == 0) {
		err := w.client.Close()
		if err != nil && !w.lost.Load() {
			return err
		}
		w.client = nil
	}
	if w.lost.Load() {
		w.counts.lost++
	}
	control := dialControl(w.t, w.p.address())
	defer control.Close()
	if w.v != nil && w.fresh > 8 { // its stack is deep by now
		if err := control.DeleteVolume(context.Background(), w.v.name); err != nil {
			return err
		}
		w.v = nil
	}
	if w.v == nil {
		w.fresh = 0
		w.v = &powerVolume{name: fmt.Sprintf("v%d", n), id: remote.VolumeID(1_000_000 + n), pasts: newPasts(powerWriters * powerBlocks)}
		if _, err := control.CreateVolume(context.Background(), w.v.id, w.v.name, w.v.size()); err != nil {
			return err
		}
	}
	w.fresh++
	if w.client == nil {
		w.client = open(w.t, blockclient.Config{Monitors: []string{w.p.address()}, Name: w.v.name, Log: quietLog()})
	}
	if w.durable = w.rng.IntN(4) == 0; w.durable { // as all that was before is to be
		if err := doLength(w.client, blockwire.Flush, 0, 0, nil); err != nil {
			return err
		}
		w.v.pasts.flushed(0, len(w.v.pasts.blocks))
	}
	return nil
}

// work starts the writers and the operators.
func (w *powerWorld) work() {
	w.pause.Store(false)
	w.dark.Store(false)
	w.lost.Store(false)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i := range powerWriters {
		writer := &powerWriter{
			v: w.client, pasts: w.v.pasts, first: i * powerBlocks, blocks: powerBlocks,
			durable: w.durable, rng: rand.New(rand.NewPCG(w.rng.Uint64(), 0)),
		}
		w.working.Go(func() { w.write(writer) })
	}
	for _, o := range w.operators {
		w.working.Go(o.run)
	}
}

// write has a writer go on until the power has gone.
func (w *powerWorld) write(writer *powerWriter) {
	for !w.pause.Load() {
		err := writer.step()
		if err == nil {
			continue
		}
		if remote.KindOf(err) != remote.Restarted || !w.dark.Load() {
			w.t.Errorf("writer: %v", err)
		}
		w.lost.Store(true)
		return
	}
}

// verify compares what the monitor has with what it must have.
func (w *powerWorld) verify() error {
	control := dialControl(w.t, w.p.address())
	defer control.Close()
	list, err := control.ListVolumes(context.Background())
	if err != nil {
		return err
	}
	found := map[string]remote.VolumeInfo{}
	for _, info := range list {
		found[info.Name] = info
	}
	var all []*powerVolume
	if w.v != nil {
		all = append(all, w.v)
	}
	for _, o := range w.operators {
		if err := o.resolve(found); err != nil {
			return err
		}
		for _, v := range o.volumes {
			all = append(all, v)
		}
	}
	for _, v := range all {
		info, ok := found[v.name]
		if !ok {
			return fmt.Errorf("volume %s is lost", v.name)
		}
		delete(found, v.name)
		if info.ID != v.id || info.Size != v.size() || info.ReadOnly != v.readOnly {
			return fmt.Errorf("volume %s is %+v, want id %d, %d bytes, read-only %v", v.name, info, v.id, v.size(), v.readOnly)
		}
		if err := w.verifyVolume(v); err != nil {
			return fmt.Errorf("volume %s: %w", v.name, err)
		}
		r, err := control.ScrubVolume(context.Background(), v.name)
		if err != nil || len(r.Damaged) > 0 {
			return fmt.Errorf("scrub of volume %s: %w, damaged: %v", v.name, err, r.Damaged)
		}
	}
	for name := range found {
		return fmt.Errorf("volume %s was deleted, or nobody has made it", name)
	}
	return nil
}

// verifyVolume reads all of a volume: v's by its client, if that can go on.
func (w *powerWorld) verifyVolume(v *powerVolume) error {
	w.counts.verified++
	if v == w.v && w.client != nil && !w.lost.Load() {
		err := readAll(w.client, v.pasts, true, &w.counts.blocks)
		if remote.KindOf(err) != remote.Restarted {
			return err
		}
		w.lost.Store(true)
	}
	client := open(w.t, blockclient.Config{Monitors: []string{w.p.address()}, Name: v.name, ReadOnly: true})
	defer client.Close()
	return readAll(client, v.pasts, false, &w.counts.blocks)
}
