package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// InRigEnv is set to 1 where a test binary runs inside the machine.
const InRigEnv = "SPLITVM_IN_RIG"

// Tests say which tests of a package to run inside a machine.
type Tests struct {
	Package string        // "" is splitvm/integration/inrig
	Run     string        // as of go test -run; "" is all
	Count   int           // as of go test -count; 0 is 1
	Timeout time.Duration // of all of them; 0 is 30 minutes
	Output  io.Writer     // gets the lines that go test -v would print
	Args    []string      // further flags of the test binary, -test.short
	Splitvm string        // as of StartWithSplitvm
	Options Options       // of the machine; Files are added to
}

// DefaultTests is the package of the tests that run inside.
const DefaultTests = "splitvm/integration/inrig"

// RunTests builds a package's test binary and splitvm, boots one machine with
// both in it (as /bin/PACKAGE.test and /bin/splitvm) and runs the tests that
// match. Where the machine fails (ErrMachine), those that hadn't ended run in
// another one, once: a test that brings machines down does so again. It returns
// an *ExitError where a test failed.
func RunTests(ctx context.Context, t Tests) error {
	setDefault(&t.Package, DefaultTests)
	setDefault(&t.Count, 1)
	setDefault(&t.Timeout, 30*time.Minute)
	test, err := GoBuild(ctx, t.Package, true)
	if err != nil {
		return err
	}
	inside := "/bin/" + path.Base(t.Package) + ".test"
	t.Options.Files = append(t.Options.Files, File{test.Path(), inside})
	out := &verdicts{w: t.Output}
	err = t.run(ctx, inside, out)
	if errors.Is(err, ErrMachine) && ctx.Err() == nil && t.Count == 1 && !t.benchmarks() {
		_, saying := fmt.Fprintf(t.Output, "%v\nThe tests that have not ended run in another machine.\n", err)
		err = errors.Join(saying, t.run(ctx, inside, out))
		if err == nil && len(out.failed) > 0 { // in the first machine
			err = fmt.Errorf("rig: failed before the machine did: %s", strings.Join(out.failed, ", "))
		}
	}
	if err = errors.Join(err, test.Remove()); err == nil && !out.began && !t.benchmarks() {
		return fmt.Errorf("rig: no test of %s matches %q", t.Package, t.Run)
	}
	return err
}

// run runs in a machine of their own the tests that out has not seen the end of.
func (t Tests) run(ctx context.Context, inside string, out *verdicts) error {
	m, err := StartWithSplitvm(ctx, t.Options, t.Splitvm)
	if err != nil {
		return err
	}
	args := []string{inside, "-test.v", "-test.run=" + t.Run, fmt.Sprintf("-test.count=%d", t.Count), "-test.timeout=" + t.Timeout.String()}
	if skip := out.skip(); skip != "" {
		args = append(args, "-test.skip="+skip)
	}
	// The test binary times itself out with its goroutines' stacks; a little later we do.
	limited, cancel := context.WithTimeoutCause(ctx, t.Timeout+time.Minute, fmt.Errorf("not over after %v", t.Timeout+time.Minute))
	defer cancel()
	err = m.Run(limited, Cmd{Args: append(args, t.Args...), Env: append(passedOn(), InRigEnv+"=1"), Dir: "/tmp", Stdout: out, Stderr: out})
	closed := m.Close()
	if errors.Is(err, ErrMachine) {
		closed = nil // the same
	}
	return errors.Join(err, out.flush(), closed)
}

func (t Tests) benchmarks() bool {
	return slices.ContainsFunc(t.Args, func(a string) bool { return strings.HasPrefix(a, "-test.bench=") })
}

// soakEnv asks tests to run for as long as they do in a soak.
const soakEnv = "SPLITVM_SOAK"

// passedOn is what tests inside the machine get of the environment here.
func passedOn() []string {
	if v := os.Getenv(soakEnv); v != "" {
		return []string{soakEnv + "=" + v}
	}
	return nil
}

// NoSplitvm as the program of StartWithSplitvm means none.
const NoSplitvm = "none"

// StartWithSplitvm is Start with a splitvm as /bin/splitvm: the given static
// program or, for "", this module's, which is built; and with the init that it
// gives to guests, this module's, as /bin/splitvm-init.
func StartWithSplitvm(ctx context.Context, o Options, program string) (*Machine, error) {
	if program == NoSplitvm {
		return Start(ctx, o)
	}
	packages := map[string]string{"splitvm/guest/init": "/bin/splitvm-init"}
	if program != "" {
		o.Files = append(o.Files, File{program, "/bin/splitvm"})
	} else {
		packages["splitvm/cmd/splitvm"] = "/bin/splitvm"
	}
	for pkg, place := range packages {
		b, err := GoBuild(ctx, pkg, false)
		if err != nil {
			return nil, err
		}
		defer b.Remove()
		o.Files = append(o.Files, File{b.Path(), place})
	}
	return Start(ctx, o)
}

// InRig tells whether this process runs inside a machine.
func InRig() bool { return os.Getenv(InRigEnv) == "1" }
