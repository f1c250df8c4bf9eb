package debs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The test binary runs itself as one of several processes on a cache.
const (
	roleEnv = "SPLITVM_DEBS_TEST_ROLE"
	dirEnv  = "SPLITVM_DEBS_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "fetch":
		os.Exit(fetchRole(os.Getenv(dirEnv)))
	case "stuck":
		os.Exit(stuckRole(os.Getenv(dirEnv)))
	}
	os.Exit(m.Run())
}

// fetchRole makes the set "x", telling that it did in a file that grows.
func fetchRole(dir string) int {
	c, err := Open(dir, io.Discard)
	if err == nil {
		var got string
		got, err = c.Entry(context.Background(), "x", func(tmp string) error { return slowSet(dir, tmp) })
		fmt.Println(got)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func slowSet(dir, tmp string) error {
	f, err := os.OpenFile(filepath.Join(dir, "made"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString("x"); err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond)
	return os.WriteFile(filepath.Join(tmp, "file"), []byte("whole"), 0o644)
}

// stuckRole leaves a set half made and waits to be killed.
func stuckRole(dir string) int {
	c, err := Open(dir, io.Discard)
	if err != nil {
		return 1
	}
	_, _ = c.Entry(context.Background(), "x", func(tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, "file"), []byte("ha"), 0o644); err != nil {
			return err
		}
		fmt.Println("half")
		time.Sleep(time.Hour)
		return nil
	})
	return 1
}

func role(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+name, dirEnv+"="+dir)
	return cmd
}

func TestEntryManyProcesses(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			out, err := role(t, "fetch", dir).Output()
			text, readErr := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "file"))
			if err != nil || readErr != nil || string(text) != "whole" {
				t.Errorf("%v %v: %q at %s", err, readErr, text, out)
			}
		})
	}
	wg.Wait()
	if made, err := os.ReadFile(filepath.Join(dir, "made")); err != nil || string(made) != "x" {
		t.Errorf("made %q times, %v; want once", made, err)
	}
}

func TestEntryAfterKill(t *testing.T) {
	dir := t.TempDir()
	stuck := role(t, "stuck", dir)
	out, err := stuck.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stuck.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "half\n" {
		t.Fatalf("%q, %v", line, err)
	}

	c, err := Open(dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Entry(ctx, "x", func(string) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("while another process fetches: %v, want to wait until the deadline", err)
	}
	if err := stuck.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = stuck.Wait() // killed

	got, err := c.Entry(t.Context(), "x", func(tmp string) error { return slowSet(dir, tmp) })
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(got, "file")); string(text) != "whole" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "store", "*.tmp")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestEntryFailure(t *testing.T) {
	c, err := Open(t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no network")
	if _, err := c.Entry(t.Context(), "x", func(string) error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("%v, want %v", err, broken)
	}
	for _, sub := range []string{"store", "current"} {
		if left, err := os.ReadDir(filepath.Join(c.Dir(), sub)); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", sub, left, err)
		}
	}
	calls := 0
	for range 2 { // the second comes from the cache
		if _, err := c.Entry(t.Context(), "x", func(string) error { calls++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("made %d times, want once", calls)
	}
}

func TestRenewAndPrune(t *testing.T) {
	c, err := Open(t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	none := func(string) error { return nil }
	old, err := c.Entry(t.Context(), "x", none)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := c.Entry(t.Context(), "gone", none)
	if err != nil {
		t.Fatal(err)
	}
	now, err := c.renew(t.Context(), "x", true, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err != nil || old == now {
		t.Errorf("renewed %s to %s: %v; both must be there", old, now, err)
	}
	if got, ok := c.lookup("x"); !ok || got != now {
		t.Errorf("current is %s, %v; want %s", got, ok, now)
	}
	if err := c.Prune(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(c.Dir(), "store", "*"))
	if err != nil || !slices.Equal(left, []string{now}) {
		t.Errorf("after pruning %s and %s: %v, %v", old, gone, left, err)
	}
	if _, ok := c.lookup("gone"); ok {
		t.Error("a pruned set is still current")
	}
}

func TestLostStore(t *testing.T) {
	c, err := Open(t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for range 2 {
		dir, err := c.Entry(t.Context(), "x", func(string) error { calls++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil { // a user who tidies up
			t.Fatal(err)
		}
	}
	if calls != 2 {
		t.Errorf("made %d times, want twice", calls)
	}
}

func TestDefaultDir(t *testing.T) {
	t.Setenv(CacheEnv, "")
	t.Setenv("XDG_CACHE_HOME", "/x/cache")
	if dir, err := DefaultDir(); err != nil || dir != "/x/cache/splitvm" {
		t.Errorf("%s, %v", dir, err)
	}
	t.Setenv(CacheEnv, "/y")
	if dir, err := DefaultDir(); err != nil || dir != "/y" {
		t.Errorf("%s, %v", dir, err)
	}
}
