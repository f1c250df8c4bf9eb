package storage

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"splitvm/remote/blockclient"
)

// A mover says that a move has failed as often as it is asked, and does not begin it
// again; the next one is another matter.
func TestMover(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	create(t, p[0].address(), "v", 1, guestSize)
	g := newGuest(t, open(t, blockclient.Config{Monitors: []string{p[0].address()}, Name: "v", Grace: 50 * time.Millisecond}), 6)
	m := blockclient.NewMover(g.v)
	move := func(number uint64) (o blockclient.Outcome) {
		for end := time.Now().Add(ample); time.Now().Before(end) && o == blockclient.MoveUnderWay; time.Sleep(time.Millisecond) {
			var err error
			o, err = m.Move(blockclient.Move{Number: number, From: p[0].address(), To: p[1].address()})
			if err != nil && o == blockclient.MoveUnderWay {
				t.Fatal(err)
			}
		}
		return o
	}
	if o := move(1); o != blockclient.MoveFailed {
		t.Errorf("to a monitor without the volume: %v", o)
	}
	create(t, p[1].address(), "v", 1, guestSize)
	if o := move(1); o != blockclient.MoveFailed {
		t.Errorf("the same again: %v", o)
	}
	wait := g.run(50)
	if o := move(2); o != blockclient.MoveDone {
		t.Errorf("the next: %v", o)
	}
	wait()
	if o := move(2); o != blockclient.MoveDone {
		t.Errorf("the next again: %v", o)
	}
	deleteAt(t, p[0])
	g.verify()
	m.Close()
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}

// A move that is cancelled at any moment has failed, and the volume is where it was, or is
// done; under writers that verify, whatever there was before. One that is cancelled before
// it was begun is never begun.
func TestWithdraw(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	create(t, p[0].address(), "v", 1, guestSize)
	g := newGuest(t, open(t, blockclient.Config{Monitors: []string{p[0].address()}, Name: "v", Grace: 50 * time.Millisecond}), 7)
	m := blockclient.NewMover(g.v)
	g.run(50)()
	rng := rand.New(rand.NewPCG(3, 3))
	final := func(ask func(blockclient.Move) (blockclient.Outcome, error), what blockclient.Move) (o blockclient.Outcome) {
		for end := time.Now().Add(ample); o == blockclient.MoveUnderWay; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no outcome after %v", ample)
			}
			o, _ = ask(what)
		}
		return o
	}
	outcomes := map[blockclient.Outcome]int{}
	for round := range uint64(rounds(20, 200)) {
		create(t, p[1].address(), "v", 1, guestSize)
		what := blockclient.Move{Number: round + 1, From: p[0].address(), To: p[1].address()}
		wait := g.run(60)
		if round%4 != 0 {
			m.Move(what)
			time.Sleep(time.Millisecond << rng.IntN(10))
		}
		o := final(m.Withdraw, what)
		wait()
		g.verify()
		switch {
		case o == blockclient.MoveDone:
			deleteAt(t, p[0])
			p[0], p[1] = p[1], p[0]
		case final(m.Move, what) != blockclient.MoveFailed:
			t.Error("it is begun again")
		default:
			deleteAt(t, p[1])
		}
		outcomes[o]++
		p[0].scrub("v")
		if round%4 == 0 && o != blockclient.MoveFailed {
			t.Error("a move that was not begun is done")
		}
		if t.Failed() {
			t.Fatalf("in round %d, outcome %v", round, o)
		}
	}
	t.Logf("%d failed, %d were too far", outcomes[blockclient.MoveFailed], outcomes[blockclient.MoveDone])
	m.Close()
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}

// A volume that was opened with both replicas as members, in the middle of a move, goes
// back to the old one.
func TestWithdrawTakenUp(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	g := newGuest(t, open(t, blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v"}), 8)
	g.run(50)()
	members(t, p[0], 2)
	wait := g.run(50)
	if err := g.v.Withdraw(t.Context(), p[0].address(), p[1].address()); !errors.Is(err, blockclient.ErrNotJoined) {
		t.Errorf("%v, want that the new one is none", err)
	}
	wait()
	deleteAt(t, p[1])
	g.verify()
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}
