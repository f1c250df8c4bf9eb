package rig

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVerdicts(t *testing.T) {
	var out bytes.Buffer
	v := &verdicts{w: &out}
	if v.skip() != "" {
		t.Errorf("before anything has ended, %q is left out", v.skip())
	}
	for _, part := range []string{
		"=== RUN   TestX\n=== RUN   TestX/Part\n    --- FAIL: TestX/Part (0.00s)\n--- FA", "IL: TestX (0.00s)\r\n=== RUN   TestA\n", "--- SKIP: TestA (0.00s)\n=== RUN   TestOpen\n",
		"PAS", "S\nFAIL\nPASSED\n", "panic: half a line",
	} {
		if n, err := v.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	for range 2 {
		if err := v.flush(); err != nil {
			t.Fatal(err)
		}
	}
	const want = "=== RUN   TestX\n=== RUN   TestX/Part\n    --- FAIL: TestX/Part (0.00s)\n--- FAIL: TestX (0.00s)\n=== RUN   TestA\n--- SKIP: TestA (0.00s)\n=== RUN   TestOpen\n" +
		"PASSED\npanic: half a line\n"
	if out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
	if got := v.skip(); got != "^(TestA|TestX)$" || !v.began || !slices.Equal(v.failed, []string{"TestX"}) {
		t.Errorf("leaves out %s; began %v; failed %v", got, v.began, v.failed)
	}
}

func TestRing(t *testing.T) {
	r := newRing(100)
	for i := range 1000 {
		if _, err := r.Write([]byte(strings.Repeat("x", i%7) + "\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Write([]byte("before last\nlast line\n\n")); err != nil {
		t.Fatal(err)
	}
	if got := r.lines(2); got != "before last\nlast line" {
		t.Errorf("%q", got)
	}
	if got := r.lines(1000); len(got) > 200 || !strings.HasSuffix(got, "last line") {
		t.Errorf("%d bytes are kept of 100: %q", len(got), got)
	}
	if _, err := r.Write(bytes.Repeat([]byte("y"), 1000)); err != nil {
		t.Fatal(err)
	}
	if got := r.lines(1); len(got) > 200 || !strings.HasSuffix(got, "yyy") {
		t.Errorf("%d bytes after a long write", len(got))
	}
}

func TestCheckPlace(t *testing.T) {
	for _, name := range []string{"/bin/x", "/root", "/root/a/b", "/user"} {
		if err := checkPlace(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "x", "/", "/usr/bin/x", "/usr", "/tmp/x", "/bin/../usr/x", "/root/", "/kernels", "/init"} {
		if checkPlace(name) == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

// The counter's rate is the same whenever it is measured, and a sane one.
func TestTSC(t *testing.T) {
	a, b := tscKHz(), tscKHz()
	if a < 100_000 || a > 20_000_000 || max(a-b, b-a)*200 > a {
		t.Errorf("%d and then %d kHz", a, b)
	}
}

func TestDefaults(t *testing.T) {
	t.Setenv("SPLITVM_CACHE", t.TempDir())
	o, err := Options{CPUs: 1, Boot: time.Second}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if o.CPUs != 1 || o.Memory != 6*gib || o.Scratch != 8*gib || o.Boot != time.Second || o.Hang != 2*time.Minute || o.Cache == nil || o.Progress == nil {
		t.Errorf("%+v", o)
	}
}
