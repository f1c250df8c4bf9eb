package powercut

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A cut leaves of each sector what the last flush made durable, or something
// newer; and over many cuts each of those.
func TestCache(t *testing.T) {
	const sectors, versions = 32, 4
	rng := rand.New(rand.NewPCG(1, 1))
	seen := map[byte]bool{}
	for range 200 {
		c := newCache(NewImage(chunkSize), 0)
		for v := range byte(versions) {
			c.write(bytes.Repeat([]byte{v + 1}, sectors*Sector), 0)
			if v == 0 {
				c.flush()
			}
		}
		c.discard(0, super)
		got := make([]byte, sectors*Sector)
		c.read(got, 0)
		if got[0] != 0 || got[super] != versions {
			t.Fatalf("read before the cut: %d, %d", got[0], got[Sector])
		}
		c.cut(rng).read(got, 0)
		for s := range sectors {
			sector := got[s*Sector:][:Sector]
			seen[sector[0]] = true
			if !bytes.Equal(sector, bytes.Repeat(sector[:1], Sector)) {
				t.Fatalf("sector %d is torn", s)
			}
			if sector[0] == 0 && s >= super/Sector {
				t.Fatalf("sector %d is older than the flush", s)
			}
		}
	}
	if len(seen) != versions+1 {
		t.Errorf("after cuts there were only %v", seen)
	}
}

// The operation that the disk was armed for is not answered, nor is any later
// one, before Discard.
func TestArm(t *testing.T) {
	for _, late := range []bool{false, true} {
		c := newCache(NewImage(chunkSize), 0)
		blown := c.arm(3, late)
		c.write([]byte{1}, 0)
		c.write([]byte{2}, 1)
		ended := make(chan bool)
		go func() { c.flush(); ended <- true }()
		<-blown
		select {
		case <-ended:
			t.Fatal("the flush was answered")
		default:
		}
		p := make([]byte, 2)
		c.durable.read(p, 0)
		if want := map[bool]string{false: "\x00\x00", true: "\x01\x02"}[late]; string(p) != want {
			t.Errorf("late %v: durable is %q, want %q", late, p, want)
		}
		c.cut(rand.New(rand.NewPCG(1, 1)))
		c.discardAll()
		<-ended
	}
}

// A file that was synced before the cut is whole after it.
func TestHost(t *testing.T) {
	if dir := Alone(t); dir != "" {
		if kept := lose(t, dir, Ext4, 0); kept != lives-1 {
			t.Errorf("of %d synced files %d are there", lives-1, kept)
		}
	}
}

// On a disk that loses flushes it is not, or the whole file system is lost.
func TestLoseFlushes(t *testing.T) {
	if dir := Alone(t); dir != "" {
		if kept := lose(t, dir, Ext4, 1); kept == lives-1 {
			t.Error("nothing was lost")
		}
	}
}

const lives = 8

// lose cuts the power several times and returns how often what was synced last
// was there.
func lose(t *testing.T, dir string, fs FileSystem, lie float64) (kept int) {
	t.Helper()
	h, err := NewHost(dir, fs, Config{LoseFlushes: lie})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(2, 2))
	boots := map[string]bool{}
	for life := range lives {
		said := live(t, h, life, rng)
		boots[said[0]] = true
		if len(said) > 1 && said[1] == "kept" {
			kept++
		}
	}
	if lie == 0 && len(boots) != lives {
		t.Errorf("in %d lives the host has had only the boot ids %v", lives, boots)
	}
	return kept
}

// live has a program look for the file of the life before, make one durable and
// another one not, and be cut off. It returns what that said.
func live(t *testing.T, h *Host, life int, rng *rand.Rand) (said []string) {
	t.Helper()
	d, err := h.Up()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", `cat /proc/sys/kernel/random/boot_id; cd "$1"
		if [ "$(grep -cx durable ./$(($2-1)))" = 1000 ]; then echo kept; fi
		for i in $(seq 1000); do echo durable; done >$2; sync $2; cp $2 volatile
		echo ready; read forever`, "sh", h.Data(), fmt.Sprint(life))
	if err := h.On(cmd, "noatime"); err != nil {
		t.Fatal(err)
	}
	wait, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer wait.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		said = append(said, lines.Text())
	}
	h.Cut(rng)
	h.Kill(cmd)
	h.Discard()
	cmd.Wait()
	if err := h.Down(); err != nil {
		t.Fatal(err)
	}
	if s := d.Stats(); h.cfg.LoseFlushes == 0 && (s.Writes == 0 || s.Flushes == 0) {
		t.Errorf("the disk has seen only %+v", s)
	}
	return append(said, "")
}

// Whoever serves a disk may die: what uses it dies after it.
func TestServerDies(t *testing.T) {
	if os.Getenv(dieEnv) == "" {
		if out, err := Again(t, dieEnv+"=1"); err == nil || !strings.Contains(string(out), death) {
			t.Errorf("%v, want a panic\n%s", err, out)
		}
		return
	}
	h, err := NewHost(Alone(t), Ext4, Config{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.Up()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `while echo 1 >"$1/file"; do sync "$1/file"; done`, "sh", h.Data())
	if err := h.On(cmd, ""); err != nil {
		t.Fatal(err)
	}
	blown := d.Arm(100, rand.New(rand.NewPCG(4, 4)))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-blown // a thread waits for the disk
	panic(death)
}

const (
	dieEnv = "SPLITVM_POWERCUT_DIE"
	death  = "dies with a disk in use"
)

// A kind of file system is skipped whose tool is not there.
func TestXFS(t *testing.T) {
	XFS.Need(t)
	if dir := Alone(t); dir != "" {
		if kept := lose(t, dir, XFS, 0); kept != lives-1 {
			t.Errorf("of %d synced files %d are there", lives-1, kept)
		}
	}
}
