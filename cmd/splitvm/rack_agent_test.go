package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"splitvm/guest/agent"
)

// stdinOf is the input that the host sends; all of it is taken at once.
func stdinOf(r *agent.Reader, w *agent.Writer) io.Reader {
	in, out := io.Pipe()
	go func() {
		for {
			t, p, err := r.Next()
			switch {
			case err != nil:
				out.CloseWithError(err)
				return
			case t == agent.StdinEnd:
				out.Close()
			case t == agent.Stdin:
				out.Write(p)
				w.Send(agent.Taken, binary.LittleEndian.AppendUint32(nil, uint32(len(p))))
			}
		}
	}()
	return in
}

// exec, cp, console, logs and stats reach vNodes of a rack on whichever host they
// run: here two processor monitors with folders of their own, and a command line
// that shares none with them.
func TestVNodesOfTheRack(t *testing.T) {
	r := startRack(t, 2)
	for _, name := range []string{"a", "b"} {
		r.start(name)
	}
	var on []struct {
		Processor string `json:"processor"`
	}
	if err := json.Unmarshal([]byte(r.must("", "ps", "-o", "json")), &on); err != nil || len(on) != 2 || on[0].Processor == on[1].Processor {
		t.Fatalf("not on two processor monitors: %+v, %v", on, err)
	}
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			r := &testRack{t: t, global: r.global, dir: r.dir}
			r.exec(name)
			r.copy(name)
			r.watch(name)
		})
	}
	if _, errs, status := r.splitvm("", "exec", "nobody", "--", "true"); status != exitRefused || !strings.Contains(errs, "no vNode named nobody") {
		t.Errorf("exec in no vNode: %d, %s", status, errs)
	}
}

func (r *testRack) exec(name string) {
	input := strings.Repeat("0123456789abcdef", 40_000)
	out, errs, status := r.splitvm(input, "exec", "-i", "--env", "A=1", name, "--", "sh", "-c", "cat; echo $A >&2; exit 7")
	if out != input || errs != "1\n" || status != 7 {
		r.t.Errorf("exec: %d of %d bytes, %q, status %d", len(out), len(input), errs, status)
	}
}

// copy sends a tree there and back.
func (r *testRack) copy(name string) {
	dir := r.t.TempDir()
	from := filepath.Join(dir, "from")
	want := bytes.Repeat([]byte("abc\x00"), 300_000)
	if err := os.MkdirAll(filepath.Join(from, "sub"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "sub", "file"), want, 0o640); err != nil {
		r.t.Fatal(err)
	}
	there, back := filepath.Join(dir, "there"), filepath.Join(dir, "back")
	r.must("", "cp", from, name+":"+there)
	r.must("", "cp", name+":"+there, back)
	if got, err := os.ReadFile(filepath.Join(back, "sub", "file")); err != nil || !bytes.Equal(got, want) {
		r.t.Errorf("copied there and back: %d of %d bytes, %v", len(got), len(want), err)
	}
	if _, errs, status := r.splitvm("", "cp", name+":"+filepath.Join(dir, "nothing"), back); status == 0 || !strings.Contains(errs, "no such file") {
		r.t.Errorf("copy of nothing: %d, %s", status, errs)
	}
}

func (r *testRack) watch(name string) {
	if out := r.must("", "logs", name); out != "hello from "+name+"\n" {
		r.t.Errorf("logs: %q", out)
	}
	var s vnodeStats
	if err := json.Unmarshal([]byte(r.must("", "stats", "-o", "json", name)), &s); err != nil || s.Name != name || s.PID == 0 {
		r.t.Errorf("stats: %+v, %v", s, err)
	}
	cmd := r.command("console", name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(os.Interrupt)
	want := "hello from " + name
	got := make([]byte, len(want))
	if _, err := io.ReadFull(out, got); err != nil || string(got) != want {
		r.t.Errorf("console: %q, %v", got, err)
	}
}
