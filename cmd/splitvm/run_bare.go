//go:build amd64

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"splitvm/guest/bare"
	vmbare "splitvm/vmm/bare"
	"splitvm/vmm/kvm"
)

// runBare runs a bare program instead of a kernel: see package guest/bare. Its
// exit status is the guest's own; 128 and the signal's number if it was stopped.
func runBare(ctx context.Context, o options) (status int, err error) {
	n := &vnode{o: o, log: o.runLog()}
	defer func() { err = errors.Join(err, n.close()) }()
	program, err := parseBare(o.rack.bare)
	if err != nil {
		return 0, err
	}
	if n.system, err = kvm.Open("/dev/kvm"); err != nil {
		return 0, fmt.Errorf("%w (`splitvm doctor` tells more)", err)
	}
	n.onClose(n.system.Close)
	if err := errors.Join(n.makeMemory(ctx)); err != nil {
		return 0, err
	}
	if err := n.openControl(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if n.far != nil {
		go n.far.guard(ctx.Done(), func(err error) { cancel(lostMemory{err}) })
	}
	if o.withParent {
		go watchParent(func() { cancel(errors.New("the parent process died")) })
	}
	r, err := vmbare.Run(ctx, n.system, n.memory, program.spec(o.memory, o.vcpus))
	return bareStatus(ctx, r, err)
}

// lostMemory is the cause of a guest's end.
type lostMemory struct{ error }

func bareStatus(ctx context.Context, r *vmbare.Result, err error) (int, error) {
	var lost lostMemory
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &lost):
		return 0, fmt.Errorf("the guest can't go on: %w", lost.error)
	case errors.Is(cause, context.Canceled):
		return exitStopped + 15, nil // by a signal to splitvm
	case err != nil:
		return 0, err
	}
	for i, v := range r.VCPUs {
		fmt.Printf("vCPU %d: %d accesses, %d writes\n", i, v.Result.Accesses, v.Result.Writes)
		if v.Status == bare.StatusWrong {
			w := v.Result.Wrong
			fmt.Fprintf(os.Stderr, "splitvm: vCPU %d: word at %#x is %#x, not %#x as written\n", i, w.Address, w.Found, w.Expected)
		}
		if v.Status != bare.StatusDone {
			return int(v.Status), nil
		}
	}
	return 0, nil
}
