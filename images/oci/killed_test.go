package oci

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"splitvm/images/store"
)

// pullEnv makes this test's program one that pulls an image: DIR REFERENCE.
const pullEnv = "SPLITVM_TEST_PULL"

func TestMain(m *testing.M) {
	var dir, reference string
	if n, _ := fmt.Sscan(os.Getenv(pullEnv), &dir, &reference); n != 2 {
		os.Exit(m.Run())
	}
	s, err := store.Open(dir)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		_, err = Pull(ctx, s, reference, Options{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestPullKilled kills a process that pulls at any moment, again and again, while
// others pull the same. What is in the store is whole at each moment, and in the end nothing is
// there but the image.
func TestPullKilled(t *testing.T) {
	s := openStore(t)
	host := serve(t, nil)
	reference := host + "/killed"
	push(t, imageOf(t, map[string]string{"a": noise(t, 4<<20)}, map[string]string{"b": noise(t, 4<<20), "a": "new"}), reference)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pull := func() *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), pullEnv+"="+s.Dir()+" "+reference)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	began := time.Now()
	if err := pull().Wait(); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	rounds, killed := 20, 0
	for round := 0; round < rounds || killed == 0; round++ { // a pull may be done sooner than the first
		if err := s.Remove(t.Context(), FullName(reference)); err != nil {
			t.Fatal(err)
		}
		victim, other := pull(), pull()
		time.Sleep(rand.N(whole)) // any moment will do
		victim.Process.Kill()
		if victim.Wait() != nil {
			killed++
		}
		if err := other.Wait(); err != nil {
			t.Fatalf("the pull beside one that was killed: %v", err)
		}
		i, err := s.Find(FullName(reference))
		if err != nil || cat(t, s, i, "a") != "new" {
			t.Fatalf("after a pull was killed: %v", err)
		}
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := files(t, s, "partial", "tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if n := len(files(t, s, "layers", "roots", "images", "names")); n != 5 {
		t.Errorf("%d files of an image with two layers", n)
	}
}
