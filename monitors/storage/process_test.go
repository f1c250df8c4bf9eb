package storage

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
)

const (
	processEnv = "SPLITVM_STORAGE_TEST_MONITOR"
	listenEnv  = "SPLITVM_STORAGE_TEST_LISTEN"
)

// TestMain is also a monitor in a process of its own, to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(processEnv); dir != "" {
		err := Run(context.Background(), Config{Listen: []string{os.Getenv(listenEnv)}, Data: dir})
		fmt.Fprintln(os.Stderr, "monitor:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// process is a monitor that can be killed.
type process struct {
	t      testing.TB
	dir    string
	listen string
	on     func(*exec.Cmd) error // if set, prepares the command to be run elsewhere
	cmd    *exec.Cmd
	ended  chan error    // gets one when cmd has ended
	said   *bytes.Buffer // by cmd on standard error; not while it runs
}

func newProcess(t testing.TB) *process {
	return newProcessAt(t, "unix:"+filepath.Join(t.TempDir(), "sock"))
}

func newProcessAt(t testing.TB, listen string) *process {
	p := &process{t: t, dir: t.TempDir(), listen: listen}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) address() string { return p.listen }

// start starts the monitor and waits until it answers.
func (p *process) start() {
	p.t.Helper()
	p.launch()
	if err := p.ready(); err != nil {
		p.t.Fatal(err)
	}
}

// launch only starts it.
func (p *process) launch() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), processEnv+"="+p.dir, listenEnv+"="+p.listen)
	p.said = new(bytes.Buffer)
	p.cmd.Stderr = p.said
	if testing.Verbose() {
		p.cmd.Stderr = os.Stderr
	}
	if p.on != nil {
		if err := p.on(p.cmd); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ended = make(chan error, 1)
	go func(c *exec.Cmd) { p.ended <- c.Wait() }(p.cmd)
}

// ready waits until the monitor answers.
func (p *process) ready() (err error) {
	for deadline := time.Now().Add(ample); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		var c transport.Conn // gRPC would wait for a second after a failure
		if c, err = transport.Dial(context.Background(), p.listen); err == nil {
			c.Close()
			break
		}
		select {
		case end := <-p.ended:
			p.cmd = nil
			return fmt.Errorf("monitor ended: %w %s", end, p.said)
		default:
		}
	}
	if err != nil {
		return fmt.Errorf("monitor does not answer: %w", err)
	}
	c := dialControl(p.t, p.address())
	defer c.Close()
	_, err = c.ListVolumes(context.Background())
	return err
}

// kill kills the monitor and waits for its end.
func (p *process) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.wait()
	}
}

func (p *process) wait() {
	if p.cmd != nil {
		<-p.ended
		p.cmd = nil
	}
}

// scrub checks every block.
func (p *process) scrub(name string) {
	p.t.Helper()
	c := dialControl(p.t, p.address())
	defer c.Close()
	if r, err := c.ScrubVolume(context.Background(), name); err != nil || len(r.Damaged) > 0 {
		p.t.Fatalf("scrub: %v, damaged %v", err, r.Damaged)
	}
}

// rounds is how often a test that kills does so.
func rounds(short, soak int) int {
	if os.Getenv("SPLITVM_SOAK") != "" {
		return soak
	}
	return short
}

// The monitor is killed at random points under writers that verify: they notice
// nothing but the time, nothing that was answered is lost, nothing is damaged.
func TestKilledUnderWriters(t *testing.T) {
	p := newProcess(t)
	create(t, p.address(), "v", 1, guestSize)
	cfg := blockclient.Config{Monitors: []string{p.address()}, Name: "v"}
	g := newGuest(t, open(t, cfg), 1)
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range rounds(8, 500) {
		wait := g.run(60)
		time.Sleep(time.Duration(rng.IntN(20_000)) * time.Microsecond)
		p.kill()
		p.start()
		wait()
		g.verify()
		p.scrub("v")
		if round%5 == 4 { // another writer
			if err := g.v.Close(); err != nil {
				t.Fatal(err)
			}
			g.v = open(t, cfg)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
}

// members waits until the volume has n members at a monitor.
func members(t testing.TB, p *process, n int) {
	t.Helper()
	c := dialControl(t, p.address())
	defer c.Close()
	var info remote.VolumeInfo
	var err error
	for deadline := time.Now().Add(ample); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if info, err = c.InspectVolume(context.Background(), "v"); err == nil && len(info.Members) == n {
			return
		}
	}
	t.Fatalf("volume has members %v, want %d: %v", info.Members, n, err)
}

// Two replicas: one is killed, the other is written to, the first comes back, the
// other is killed. Not a write is lost, and nobody sees an error.
func TestReplicas(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	cfg := blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v", Grace: 50 * time.Millisecond}
	g := newGuest(t, open(t, cfg), 2)
	rng := rand.New(rand.NewPCG(8, 8))
	for round := range rounds(4, 100) {
		dead, alive := p[round%2], p[1-round%2]
		wait := g.run(60)
		time.Sleep(time.Duration(rng.IntN(20_000)) * time.Microsecond)
		dead.kill()
		wait()
		members(t, alive, 1)
		g.run(30)()
		dead.start()
		wait = g.run(100)
		members(t, alive, 2)
		members(t, dead, 2)
		wait()
		g.verify()
		dead.scrub("v")
		alive.scrub("v")
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if err := g.v.Close(); err != nil {
		t.Error(err)
	}
	compareReplicas(t, p)
}

// compareReplicas opens each replica alone and compares what they hold.
func compareReplicas(t testing.TB, p []*process) {
	t.Helper()
	var all [][]byte
	for _, p := range p {
		v := open(t, blockclient.Config{Monitors: []string{p.address()}, Name: "v", ReadOnly: true})
		buf := make([]byte, guestSize)
		for off := 0; off < len(buf); off += remote.MaxBlockIO {
			if err := do(v, blockwire.Read, uint64(off), buf[off:min(off+remote.MaxBlockIO, len(buf))]); err != nil {
				t.Fatal(err)
			}
		}
		v.Close()
		all = append(all, buf)
	}
	if !bytes.Equal(all[0], all[1]) {
		t.Error("the replicas differ")
	}
}

// A writer that is killed leaves replicas that may differ in what was under way:
// the next one makes them the same.
func TestWriterGone(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	cfg := blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v", Log: quietLog()}
	for round := range rounds(3, 50) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestWriterToKill$")
		cmd.Env = append(os.Environ(), writerEnv+"="+cfg.Monitors[0]+","+cfg.Monitors[1], "SPLITVM_SEED="+strconv.Itoa(round))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(300+rand.IntN(400)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		v := openAfter(t, cfg)
		members(t, p[0], 2)
		members(t, p[1], 2)
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		compareReplicas(t, p)
	}
}

// openAfter opens a volume when its monitors have seen that its writer is gone, which
// Open gives them a second for.
func openAfter(t *testing.T, cfg blockclient.Config) *blockclient.Volume {
	t.Helper()
	for end := time.Now().Add(ample); ; {
		v, err := blockclient.Open(t.Context(), cfg)
		if err == nil {
			return v
		}
		if remote.KindOf(err) != remote.Busy || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

const writerEnv = "SPLITVM_STORAGE_TEST_WRITER"

// TestWriterToKill writes until it is killed.
func TestWriterToKill(t *testing.T) {
	monitors := os.Getenv(writerEnv)
	if monitors == "" {
		t.Skip("is run by TestWriterGone")
	}
	seed, _ := strconv.Atoi(os.Getenv("SPLITVM_SEED"))
	a, b, _ := bytes.Cut([]byte(monitors), []byte(","))
	v := open(t, blockclient.Config{Monitors: []string{string(a), string(b)}, Name: "v"})
	g := newGuest(t, v, uint64(seed))
	for w := range guestWriters { // it does not know what is there
		for i := range guestBlocks {
			g.want[w][i] = 0
		}
	}
	if err := doLength(v, blockwire.Zeroes, 0, guestSize, nil); err != nil {
		t.Fatal(err)
	}
	g.run(1_000_000)()
}

// Two replicas can't be opened while one is away that may hold more.
func TestMissingMember(t *testing.T) {
	p := []*process{newProcess(t), newProcess(t)}
	for _, p := range p {
		create(t, p.address(), "v", 1, guestSize)
	}
	cfg := blockclient.Config{Monitors: []string{p[0].address(), p[1].address()}, Name: "v", Grace: 50 * time.Millisecond, Log: quietLog()}
	v := open(t, cfg)
	g := newGuest(t, v, 3)
	p[0].kill()
	g.run(20)()
	members(t, p[1], 1)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	p[1].kill()
	p[0].start() // it believes to be a member, and misses writes
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if v, err := blockclient.Open(ctx, cfg); err == nil {
		v.Close()
		t.Fatal("opened with the replica that misses writes")
	}
	p[1].start()
	g.v = open(t, cfg)
	g.verify()
	members(t, p[0], 2)
	p[1].kill()
	g.verify()
	members(t, p[0], 1)
	if err := g.v.Close(); err != nil {
		t.Fatal(err)
	}
}
