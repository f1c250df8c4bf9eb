package rack

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"splitvm/integration/require"
	"splitvm/remote/transport"
)

// etcdVariable makes the tests' program an etcd server: DIR,HOST:PORT.
const etcdVariable = "SPLITVM_TEST_ETCD"

// serveEtcd is that server, until SIGTERM.
func serveEtcd(at string) (status int) {
	dir, address, _ := strings.Cut(at, ",")
	c := embed.NewConfig()
	c.Dir, c.Name = dir, "outside"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	client := url.URL{Scheme: "http", Host: address}
	c.ListenClientUrls, c.AdvertiseClientUrls, c.ListenPeerUrls = []url.URL{client}, []url.URL{client}, nil
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer e.Close()
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	select {
	case <-end:
		return 0
	case err := <-e.Err():
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
}

// freeAddress is one that nobody listens on, for what is started again there.
func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := transport.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return free[0]
}

// daemon is a process that is started, killed, and started again.
type daemon struct {
	t    *testing.T
	make func() *exec.Cmd
	cmd  *exec.Cmd
}

func (d *daemon) start() {
	d.t.Helper()
	d.cmd = d.make()
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) kill() {
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// started starts a daemon, whose log is shown if the test fails, and ends it with the
// test.
func started(t *testing.T, name string, command func() *exec.Cmd) *daemon {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, make: func() *exec.Cmd {
		cmd := command()
		cmd.Stderr = log
		return cmd
	}}
	d.start()
	t.Cleanup(func() {
		d.cmd.Process.Signal(unix.SIGTERM)
		d.cmd.Wait()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s:\n%s", name, text)
		}
		log.Close()
	})
	return d
}

// A rack whose state is in an etcd cluster of somebody else's: two global monitors
// without a folder, of which either may be lost, and etcd be away and come back, while a
// vNode runs.
func TestExternalEtcd(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	dir, err := os.MkdirTemp("", "svm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rack{t: t, dir: dir}
	at := freeAddress(t)
	etcd := started(t, "etcd", func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), etcdVariable+"="+filepath.Join(dir, "etcd")+","+at)
		return cmd
	})
	var globals []*daemon
	var addresses []string
	for _, name := range []string{"a", "b"} {
		listen := freeAddress(t)
		addresses = append(addresses, listen)
		globals = append(globals, started(t, "global-"+name, func() *exec.Cmd {
			return r.command("monitor", "global", "--listen", listen, "--name", name, "--etcd-endpoints", "http://"+at)
		}))
	}
	r.global = strings.Join(addresses, ",")
	t.Setenv("SPLITVM_GLOBAL", r.global)
	members := 0 // that have joined
	answers := func(when string) {
		t.Helper()
		r.eventually("the rack answers "+when, func() bool { _, err := r.try("ps"); return err == nil })
		r.eventually("its monitors are members "+when, func() bool { return len(list[[]member](r, "monitor", "ls")) == members })
	}
	answers("at first")
	for _, role := range [][]string{{"memory", "--mem", "1G"}, {"processor", "--excache", "256M", "--data", filepath.Join(dir, "p")}} {
		started(t, role[0], func() *exec.Cmd {
			return r.command(append([]string{"monitor", role[0], "--global", "auto", "--listen", "127.0.0.1:0", "--name", role[0]}, role[1:]...)...)
		})
		r.eventually(role[0]+" has joined", func() bool { return r.happened("member.joined", role[0], "") })
		members++
	}
	v := r.long("v")
	for i, g := range globals {
		g.kill()
		answers("without one global monitor")
		r.must(small(fmt.Sprintf("w%d", i), 1000)...)
		g.start()
	}
	etcd.kill()
	if out, err := r.try("monitor", "global", "--listen", "127.0.0.1:0", "--etcd-endpoints", "http://"+at); err == nil || !strings.Contains(out, "--etcd-endpoints") {
		t.Errorf("a global monitor without etcd: %v, %s", err, out)
	}
	etcd.start()
	answers("when etcd is back")
	if now := r.vnode("v"); now.State != "VNODE_STATE_RUNNING" || now.PID != v.PID || !alive(v) {
		t.Errorf("afterwards: %+v, was %+v", now, v)
	}
	r.must(small("x", 1000)...)
	r.must("stop", "v")
	r.must("rm", "v")
	r.empty()
}
