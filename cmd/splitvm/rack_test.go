package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/agent"
	"splitvm/guest/agent/tree"
	"splitvm/monitors/global"
	"splitvm/monitors/global/place"
	"splitvm/monitors/memory"
	"splitvm/monitors/processor"
)

// testAs makes the test's own program splitvm. One that is started with the
// argument "run" and a folder's status file is a VMM instead (hostedVNode): a
// processor monitor sets its environment.
const testAs = "SPLITVM_TEST_AS"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(testAs) == "splitvm":
		main()
	case len(os.Args) == 4 && os.Args[1] == "run":
		if err := hostedVNode(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "-test."):
		fmt.Fprintln(os.Stderr, "not started by go test: it would start itself for ever")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// testRack is a global monitor, a memory monitor m and processor monitors of this
// process, each of those with a folder of its own.
type testRack struct {
	t      *testing.T
	global string
	dir    string // of the command line
}

func startRack(t *testing.T, processors int) *testRack {
	t.Helper()
	dir, err := os.MkdirTemp("", "svm") // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &testRack{t: t, dir: filepath.Join(dir, "cli")}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	policy, err := place.PolicyByName("round-robin")
	if err != nil {
		t.Fatal(err)
	}
	r.global = serveMonitor(t, func(ctx context.Context, ready func(net.Addr)) error {
		return global.Run(ctx, global.Config{Listen: "127.0.0.1:0", Name: "g", Etcd: global.Etcd{Dir: filepath.Join(dir, "g"), Name: "g"}, Policy: policy, Log: log, Ready: ready})
	})
	serveMonitor(t, func(ctx context.Context, ready func(net.Addr)) error {
		return memory.Run(ctx, memory.Config{Listen: []string{"127.0.0.1:0"}, Store: memory.StoreConfig{Mem: 64 << 30}, Rack: memory.Rack{Global: []string{r.global}, Name: "m"}, Log: log,
			Ready: func(data []net.Addr, _ net.Addr) { ready(data[0]) }})
	})
	for i := range processors {
		name := fmt.Sprintf("p%d", i+1)
		serveMonitor(t, func(ctx context.Context, ready func(net.Addr)) error {
			return processor.Run(ctx, processor.Config{Global: []string{r.global}, Listen: "127.0.0.1:0", Dir: filepath.Join(dir, name), Name: name,
				VCPUs: 100, ExCache: 1 << 30, Command: hostedCommand, Log: log, Ready: ready})
		})
	}
	r.wait("the monitors are members", func() bool { return len(r.members()) == processors+1 })
	return r
}

// serveMonitor runs a monitor until the test's end, and returns its address.
func serveMonitor(t *testing.T, run func(context.Context, func(net.Addr)) error) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() { done <- run(ctx, func(a net.Addr) { ready <- a }) }()
	select {
	case at := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return at.String()
	case err := <-done:
		cancel()
		t.Fatal(err)
		return ""
	}
}

func (r *testRack) members() (list []string) {
	return strings.Split(strings.TrimSpace(r.must("", "monitor", "ls")), "\n")[1:]
}

func (r *testRack) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), testAs+"=splitvm", "SPLITVM_RUN_DIR="+r.dir, "SPLITVM_GLOBAL="+r.global)
	return cmd
}

// splitvm runs a command of splitvm's.
func (r *testRack) splitvm(in string, args ...string) (out, errs string, status int) {
	r.t.Helper()
	cmd := r.command(args...)
	cmd.Stdin = strings.NewReader(in)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func (r *testRack) must(in string, args ...string) string {
	r.t.Helper()
	out, errs, status := r.splitvm(in, args...)
	if status != 0 {
		r.t.Fatalf("splitvm %s: status %d: %s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

// start starts a vNode and removes it at the test's end.
func (r *testRack) start(name string) {
	r.t.Helper()
	r.must("", "create", "--name", name, "--bare", "exit")
	r.t.Cleanup(func() { r.must("", "stop", name); r.must("", "rm", name) })
	r.must("", "start", name)
	r.wait(name+" runs", func() bool {
		for line := range strings.Lines(r.must("", "ps")) {
			if words := strings.Fields(line); slices.Contains(words, name) && slices.Contains(words, "running") {
				return true
			}
		}
		return false
	})
}

// wait asks again until it is so.
func (r *testRack) wait(what string, so func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !so(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("not so after three minutes: %s", what)
		}
	}
}

// hostedCommand makes the test's program a vNode's VMM.
func hostedCommand(l processor.Launch) *exec.Cmd {
	return exec.Command("/proc/self/exe", "run", l.VNode.Spec.Name, l.Status)
}

// hostedVNode serves the control socket of a vNode that has no guest: what its
// agent is asked for it does on this host. It ends with SIGTERM.
func hostedVNode(name, status string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	l, err := listenControl(name)
	if err != nil {
		return err
	}
	n := &vnode{o: options{name: name}, io: &guestIO{written: newTranscript()}}
	prints := io.MultiWriter(n.io.written, os.Stdout)
	fmt.Fprintf(prints, "hello from %s\n", name)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &vnodeStats{Name: name, PID: os.Getpid(), VCPUs: 1}, nil)
	})
	mux.HandleFunc("POST /console", func(w http.ResponseWriter, r *http.Request) {
		if conn, err := serveUpgrade(w, r, upgradeStream); err == nil {
			defer conn.Close()
			n.io.written.send(typist{conn, hostedTerminal{prints}}, n.io.written.at(consoleContext), -1)
		}
	})
	mux.HandleFunc("POST /console/size", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(prints, "<window of %s by %s>\n", r.FormValue("cols"), r.FormValue("rows"))
		answer(w, struct{}{}, nil)
	})
	mux.HandleFunc("POST /agent", func(w http.ResponseWriter, r *http.Request) {
		if conn, err := serveUpgrade(w, r, upgradeAgent); err == nil {
			defer conn.Close()
			hostedAgent(conn)
		}
	})
	srv := &http.Server{Handler: mux}
	go srv.Serve(l)
	<-ctx.Done()
	n.io.written.close()
	return errors.Join(leaveStatus(status, 143, nil), srv.Close())
}

// hostedTerminal is a guest that tells what is typed.
type hostedTerminal struct{ prints io.Writer }

func (h hostedTerminal) Write(p []byte) (int, error) {
	fmt.Fprintf(h.prints, "<typed %q>\n", p)
	return len(p), nil
}

// hostedAgent serves one session of the agent's protocol.
func hostedAgent(conn io.ReadWriter) error {
	r, w := agent.NewReader(conn), agent.NewWriter(conn)
	_, p, err := r.Next()
	if err != nil {
		return err
	}
	req, err := agent.ParseRequest(p)
	if err != nil {
		return err
	}
	if err := w.Send(agent.Started, nil); err != nil {
		return err
	}
	in := stdinOf(r, w)
	var st agent.Status
	switch {
	case req.Exec != nil:
		cmd := exec.Command(req.Exec.Argv[0], req.Exec.Argv[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = in, w.Stream(agent.Stdout), w.Stream(agent.Stderr), append(os.Environ(), req.Exec.Env...)
		cmd.Run()
		st.Code = uint8(cmd.ProcessState.ExitCode())
	case req.Put != "":
		err = tree.Unpack(in, req.Put)
	default:
		err = tree.Pack(w.Stream(agent.Stdout), req.Get)
	}
	if err != nil {
		failed := agent.Failure{Status: 1, Reason: err.Error()}
		return w.Send(agent.Failed, failed.Encode())
	}
	return w.Send(agent.Exited, st.Encode())
}
