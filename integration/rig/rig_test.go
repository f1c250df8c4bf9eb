package rig_test

import (
	"context"
	"os"
	"os/signal"
	"testing"
	"time"

	"splitvm/integration/require"
	"splitvm/integration/rig"
	"splitvm/integration/rig/debs"
	"splitvm/integration/rig/testimages"
)

// TestInRig runs the tests of package integration/inrig inside one machine;
// SPLITVM_RIG_RUN picks some, as go test -run does. Their lines are printed as
// if they were this package's tests.
func TestInRig(t *testing.T) {
	require.Rig(t)
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	limit := 30 * time.Minute
	if deadline, ok := t.Deadline(); ok {
		limit = time.Until(deadline) - time.Minute
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-10*time.Second)) // the machine is closed before go test gives up
		defer cancel()
	}
	tests := rig.Tests{Run: os.Getenv("SPLITVM_RIG_RUN"), Output: os.Stdout, Timeout: limit}
	images, err := testimages.Build(ctx, cacheOf(t))
	if err != nil {
		t.Fatal(err)
	}
	tests.Options.Disks = append(tests.Options.Disks, rig.Disk{Path: images, Serial: testimages.Serial, ReadOnly: true})
	if testing.Short() {
		tests.Args = append(tests.Args, "-test.short")
	}
	if err := rig.RunTests(ctx, tests); err != nil {
		t.Fatal(err)
	}
}

func cacheOf(t *testing.T) *debs.Cache {
	t.Helper()
	cache, err := debs.Open("", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}
