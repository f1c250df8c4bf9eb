package rack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"splitvm/integration/programs"
	"splitvm/integration/require"
)

// program is the splitvm that TestMain removes.
var program string

func TestMain(m *testing.M) {
	if at := os.Getenv(etcdVariable); at != "" {
		os.Exit(serveEtcd(at))
	}
	code := m.Run()
	if program != "" {
		os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

// build builds the program under test, once. Tests are not parallel.
func build(t testing.TB) {
	t.Helper()
	if program != "" {
		return
	}
	dir, err := os.MkdirTemp("", "svm")
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "splitvm")
	programs.Build(t, dir, "splitvm/cmd/splitvm", "splitvm/cmd/splitvm-global")
}

// rack is one that is up.
type rack struct {
	t      testing.TB
	dir    string // SPLITVM_RUN_DIR
	global string // what "auto" stands for, if not for what `rack up` started
}

// up starts a rack, and sees to it that nothing is left of it at the end.
func up(t testing.TB, flags ...string) *rack {
	t.Helper()
	require.KVM(t)
	require.UFFD(t)
	build(t)
	dir, err := os.MkdirTemp("", "svm") // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	r := &rack{t: t, dir: dir}
	t.Cleanup(r.down)
	r.must(append([]string{"rack", "up"}, flags...)...)
	return r
}

// down ends the rack and checks that nothing is left.
func (r *rack) down() {
	if r.t.Failed() {
		r.showLogs()
	}
	if out, err := r.try("rack", "down"); err != nil {
		r.t.Errorf("rack down: %v\n%s", err, out)
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range environs {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(env, []byte("SPLITVM_RACK="+r.dir)) {
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			r.t.Errorf("process left: %s %s", f, bytes.ReplaceAll(args, []byte{0}, []byte{' '}))
		}
	}
	left, _ := os.ReadDir(r.dir)
	for _, f := range left {
		r.t.Errorf("file left: %s", f.Name())
	}
	os.RemoveAll(r.dir)
}

func (r *rack) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(r.dir, "rack/logs/*"))
	for _, f := range logs {
		text, _ := os.ReadFile(f)
		lines := strings.Split(string(text), "\n")
		r.t.Logf("%s:\n%s", filepath.Base(f), strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

func (r *rack) command(args ...string) *exec.Cmd {
	if args = slices.Clone(args); r.global != "" {
		for i, a := range args {
			if a == "auto" {
				args[i] = r.global
			}
		}
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "SPLITVM_RUN_DIR="+r.dir)
	return cmd
}

// try runs splitvm and returns all that it printed.
func (r *rack) try(args ...string) (string, error) {
	out, err := r.command(args...).CombinedOutput()
	return string(out), err
}

// must runs splitvm, which must succeed, and returns its output.
func (r *rack) must(args ...string) string {
	r.t.Helper()
	cmd := r.command(args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("splitvm %s: %v\n%s%s", strings.Join(args, " "), err, out, errs.Bytes())
	}
	return string(out)
}

// list runs a command that lists, into a value.
func list[T any](r *rack, args ...string) T {
	r.t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.must(append(args, "-o", "json")...)), &v); err != nil {
		r.t.Fatalf("splitvm %v: %v", args, err)
	}
	return v
}

// The parts of what the commands list that tests look at.
type (
	vnode struct {
		ID         string `json:"id"`
		State      string `json:"state"`
		ExitStatus int    `json:"exit_status"`
		Reason     string `json:"reason"`
		PID        int    `json:"pid"`
		VIP        string `json:"vip"`
		Processor  string `json:"processor"`
		Spec       struct {
			Name string `json:"name"`
		} `json:"spec"`
	}
	vregion struct {
		ID     string   `json:"id"`
		Owners []string `json:"owners"`
		Target string   `json:"target"`
		Held   string   `json:"held_bytes"`
	}
	member struct {
		ID   string `json:"id"`
		Role string `json:"role"`
		Name string `json:"name"`
		Used struct {
			Memory   string `json:"memory_bytes"`
			VRegions string `json:"vregions"`
		} `json:"used"`
	}
	process struct {
		Name string   `json:"name"`
		PID  int      `json:"pid"`
		Args []string `json:"args"`
	}
	event struct {
		Kind    string `json:"kind"`
		Subject string `json:"subject"`
		Text    string `json:"text"`
	}
)

func (r *rack) process(name string) process {
	r.t.Helper()
	for _, p := range list[struct{ Processes []process }](r, "rack", "status").Processes {
		if p.Name == name {
			return p
		}
	}
	r.t.Fatalf("the rack has no %s", name)
	return process{}
}

// vnode returns a vNode by name.
func (r *rack) vnode(name string) vnode {
	r.t.Helper()
	for _, v := range list[[]vnode](r, "ps", "-a") {
		if v.Spec.Name == name {
			return v
		}
	}
	r.t.Fatalf("no vNode %s", name)
	return vnode{}
}

// patience is what a rack has for what must happen.
const patience = 3 * time.Minute

// eventually waits until ok.
func (r *rack) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// empty waits until the memory monitors hold nothing and the rack knows of no
// vRegion.
func (r *rack) empty() {
	r.t.Helper()
	r.eventually("no line and no vRegion is left", func() bool {
		for _, m := range list[[]member](r, "monitor", "ls") {
			if m.Role == "ROLE_MEMORY" && (m.Used.Memory != "" || m.Used.VRegions != "") {
				return false
			}
		}
		return len(list[[]vregion](r, "vregion", "ls")) == 0
	})
}

// status is a command's exit status.
func status(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// small is a verifying vNode whose memory is four vRegions, most of it remote.
func small(name string, accesses int) []string {
	return []string{"run", "--global", "auto", "--name", name, "--bare", fmt.Sprintf("verify,accesses=%d", accesses),
		"--mem", "32M", "--vregion", "8M", "--excache", "2M"}
}
