package storage

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"splitvm/integration/powercut"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
)

// powered is a monitor on a host of its own.
type powered struct {
	*process
	host *powercut.Host
	disk *powercut.Disk
	rng  *rand.Rand
}

func newPowered(t *testing.T, dir string, n int) *powered {
	t.Helper()
	dir = filepath.Join(dir, fmt.Sprintf("host%d", n))
	host, err := powercut.NewHost(dir, powercut.Ext4, powercut.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := &powered{host: host, rng: rand.New(rand.NewPCG(19, uint64(n)))}
	p.process = &process{t: t, dir: filepath.Join(host.Data(), "monitor"), listen: "unix:" + filepath.Join(dir, "sock")}
	p.on = func(cmd *exec.Cmd) error { return host.On(cmd, "nodiscard") }
	t.Cleanup(p.kill)
	p.up()
	return p
}

func (p *powered) up() {
	p.t.Helper()
	var err error
	if p.disk, err = p.host.Up(); err != nil {
		p.t.Fatal(err)
	}
	p.start()
}

// down has the power go soon.
func (p *powered) down() {
	p.t.Helper()
	select {
	case <-p.disk.Arm(1+p.rng.IntN(60), p.rng):
	case <-time.After(50 * time.Millisecond):
	}
	if err := losePower(p.host, p.process, p.rng); err != nil {
		p.t.Fatal(err)
	}
}

// Two replicas: the host of one loses power under writers that verify, with what
// it had not flushed, and comes back before the other loses it; either before the
// others go on without it, or after. Not a write is lost, nobody sees an error,
// and the replicas are the same.
func TestReplicaLosesPower(t *testing.T) {
	dir := powercut.Alone(t)
	if dir == "" {
		return
	}
	p := []*powered{newPowered(t, dir, 0), newPowered(t, dir, 1)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	cfg := blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v", Log: quietLog()}
	var g *guest
	for round := range rounds(4, 100) {
		if round%4 == 0 { // another writer
			cfg.Grace = []time.Duration{50 * time.Millisecond, ample}[round/4%2]
			g = reopen(t, g, cfg)
		}
		dead, alive := p[round%2], p[1-round%2]
		wait := g.run(80)
		dead.down()
		if cfg.Grace < time.Second {
			wait()
			members(t, alive.process, 1)
			wait = g.run(60)
		}
		dead.up()
		wait()
		// Done by a member that is there again, or without it: the list is that by now.
		if err := doLength(g.v, blockwire.Flush, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
		members(t, alive.process, 2)
		members(t, dead.process, 2)
		g.verify()
		dead.scrub("v")
		alive.scrub("v")
		compareReplicas(t, []*process{p[0].process, p[1].process})
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}

// reopen goes on with another writer.
func reopen(t *testing.T, g *guest, cfg blockclient.Config) *guest {
	t.Helper()
	if g == nil {
		return newGuest(t, open(t, cfg), 2)
	}
	if err := g.v.Close(); err != nil {
		t.Fatal(err)
	}
	g.v = open(t, cfg)
	return g
}
