package storage

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
)

// replace moves a replica within what a busy machine may take.
func replace(t *testing.T, v *blockclient.Volume, from, to *process) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	return v.Replace(ctx, from.address(), to.address())
}

func deleteAt(t *testing.T, p *process) {
	t.Helper()
	c := dialControl(t, p.address())
	defer c.Close()
	for end := time.Now().Add(ample); ; time.Sleep(10 * time.Millisecond) {
		err := c.DeleteVolume(t.Context(), "v") // Busy until the monitor has seen the writer leave
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A replica goes from monitor to monitor under writers that verify, of a volume of
// one replica and of one of two; the old one can be deleted each time, and what is
// there in the end is all of it.
func TestReplace(t *testing.T) {
	for _, replicas := range []int{1, 2} {
		var p []*process
		for range replicas + 1 {
			p = append(p, newProcess(t))
		}
		var at []string
		for _, p := range p[:replicas] {
			create(t, p.address(), "v", 1, guestSize)
			at = append(at, p.address())
		}
		g := newGuest(t, open(t, blockclient.Config{Monitors: at, Name: "v", Grace: 50 * time.Millisecond}), 3)
		g.run(50)()
		for range rounds(5, 100) {
			spare := p[replicas]
			create(t, spare.address(), "v", 1, guestSize)
			wait := g.run(150)
			if err := replace(t, g.v, p[0], spare); err != nil {
				t.Fatal(err)
			}
			deleteAt(t, p[0])
			wait()
			g.verify()
			spare.scrub("v")
			p = append(p[1:], p[0])
		}
		if err := g.v.Close(); err != nil {
			t.Error(err)
		}
		at = nil
		for _, p := range p[:replicas] {
			at = append(at, p.address())
		}
		g.v = open(t, blockclient.Config{Monitors: at, Name: "v"})
		g.verify()
		if err := g.v.Close(); err != nil {
			t.Error(err)
		}
		if replicas == 2 {
			compareReplicas(t, p[:2])
		}
	}
}

// A target that can't be had, or dies at any point, leaves the volume as it was; a
// source that dies is waited for.
func TestReplaceKilled(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	create(t, p[0].address(), "v", 1, guestSize)
	g := newGuest(t, open(t, blockclient.Config{Monitors: []string{p[0].address()}, Name: "v", Grace: 50 * time.Millisecond}), 4)
	g.run(50)()
	if err := replace(t, g.v, p[0], p[1]); err == nil {
		t.Error("replaced by a monitor without the volume")
	}
	create(t, p[1].address(), "v", 1, guestSize)
	rng := rand.New(rand.NewPCG(9, 9))
	for round := range rounds(6, 100) {
		die := p[round%2]
		wait := g.run(100)
		outcome := make(chan error)
		go func() { outcome <- replace(t, g.v, p[0], p[1]) }()
		time.Sleep(time.Duration(rng.IntN(10_000)) * time.Microsecond)
		die.kill()
		die.start()
		err := <-outcome
		wait()
		g.verify()
		if err == nil { // p[1] has it now
			deleteAt(t, p[0])
			p[0], p[1] = p[1], p[0]
			create(t, p[1].address(), "v", 1, guestSize)
		}
		p[0].scrub("v")
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}

// A replica whose monitor is killed for good is replaced under writers that verify, by one
// that then has everything alone: also where the volume was opened without the lost one.
func TestReplaceLost(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	cfg := blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v", Grace: 50 * time.Millisecond}
	g := newGuest(t, open(t, cfg), 10)
	for round := range rounds(4, 50) {
		wait := g.run(100)
		p[0].kill()
		wait()
		p = append(p, newProcess(t))
		create(t, p[2].address(), "v", 1, guestSize)
		if round%2 == 1 {
			if err := g.v.Close(); err != nil {
				t.Fatal(err)
			}
			cfg.Monitors = []string{p[1].address()}
			g.v = open(t, cfg)
		}
		wait = g.run(100)
		if err := replace(t, g.v, p[0], p[2]); err != nil {
			t.Fatal(err)
		}
		wait()
		members(t, p[2], 2)
		g.verify()
		p = p[1:]
		p[1].scrub("v")
	}
	p[0].kill()
	g.run(20)()
	g.verify()
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}

// A monitor with an empty directory, at the address of one that was lost while the volume is
// open, takes its place.
func TestReplaceLostDisk(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	g := newGuest(t, open(t, blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v", Grace: 50 * time.Millisecond}), 12)
	wait := g.run(100)
	p[0].kill()
	wait()
	fresh := newProcessAt(t, p[0].address())
	create(t, fresh.address(), "v", 1, guestSize)
	wait = g.run(100)
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	if err := g.v.Replace(ctx, "", fresh.address()); err != nil {
		t.Fatal(err)
	}
	wait()
	members(t, fresh, 2)
	p[1].kill()
	g.verify()
	g.run(50)()
	g.verify()
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
	fresh.scrub("v")
}

// Who opens a volume whose replica was about to move is given both monitors, and the
// move goes on, whichever of them is a member.
func TestReplaceTakenUp(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	g := newGuest(t, open(t, blockclient.Config{Monitors: []string{p[0].address()}, Name: "v"}), 5)
	g.run(50)()
	if err := g.v.Close(); err != nil {
		t.Fatal(err)
	}
	both := blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v"}
	g.v = open(t, both)
	wait := g.run(50)
	members(t, p[0], 2)
	wait()
	if err := g.v.Close(); err != nil { // as by a VMM that ends in between
		t.Fatal(err)
	}
	g.v = open(t, both)
	wait = g.run(50)
	if err := replace(t, g.v, p[0], p[1]); err != nil {
		t.Fatal(err)
	}
	wait()
	deleteAt(t, p[0])
	g.verify()
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}

// A replica that comes to a monitor is whole, however little of the volume changes
// meanwhile: also where the volume was earlier, and where who opened it was told of
// the new one before.
func TestReplaceUnchanged(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t), newProcess(t)}
	at := func(n int) (list []string) {
		for _, p := range p[:n] {
			list = append(list, p.address())
		}
		return list
	}
	for _, p := range p[:2] {
		create(t, p.address(), "v", 1, replaceSize)
	}
	r := &replaced{t, open(t, blockclient.Config{Monitors: at(2), Name: "v"}), make([]byte, replaceSize)}
	r.fill()
	for round := range byte(6) {
		r.change(round)
		create(t, p[2].address(), "v", 1, replaceSize)
		if round >= 3 {
			if err := r.v.Close(); err != nil {
				t.Fatal(err)
			}
			r.v = open(t, blockclient.Config{Monitors: at(3), Name: "v"})
		}
		if err := replace(t, r.v, p[0], p[2]); err != nil {
			t.Fatal(err)
		}
		deleteAt(t, p[0])
		p[0], p[1], p[2] = p[1], p[2], p[0]
		if err := r.v.Close(); err != nil {
			t.Fatal(err)
		}
		for _, p := range p[:2] {
			r.same(p)
		}
		r.v = open(t, blockclient.Config{Monitors: at(2), Name: "v"})
	}
	if err := r.v.Close(); err != nil {
		t.Error(err)
	}
}

const replaceSize = 4 * blockwire.ExtentSize

// replaced is a volume and what has to be in it.
type replaced struct {
	t    *testing.T
	v    *blockclient.Volume
	want []byte
}

func (r *replaced) fill() {
	rand.NewChaCha8([32]byte{}).Read(r.want)
	if err := r.v.Fill(r.t.Context(), bytes.NewReader(r.want), replaceSize); err != nil {
		r.t.Fatal(err)
	}
}

// change changes the first block, and has what was written be known as common.
func (r *replaced) change(value byte) {
	r.t.Helper()
	r.want[0] = value
	if err := do(r.v, blockwire.Write, 0, r.want[:remote.BlockSize]); err != nil {
		r.t.Fatal(err)
	}
	for range 3 {
		if err := doLength(r.v, blockwire.Flush, 0, 0, nil); err != nil {
			r.t.Fatal(err)
		}
	}
}

// same compares what is at a monitor, byte for byte.
func (r *replaced) same(p *process) {
	r.t.Helper()
	v := open(r.t, blockclient.Config{Monitors: []string{p.address()}, Name: "v", ReadOnly: true})
	defer v.Close()
	got := make([]byte, replaceSize)
	for off := 0; off < replaceSize; off += remote.MaxBlockIO {
		if err := do(v, blockwire.Read, uint64(off), got[off:off+remote.MaxBlockIO]); err != nil {
			r.t.Fatal(err)
		}
	}
	for i := range got {
		if got[i] != r.want[i] {
			r.t.Fatalf("byte %d is %#x, want %#x", i, got[i], r.want[i])
		}
	}
}
