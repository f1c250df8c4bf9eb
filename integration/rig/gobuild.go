package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// A Build is a static program made from a package of this module.
type Build struct {
	Package string // import path
	Test    bool   // the package's test binary
	dir     string
}

// Path returns where the program is, until Remove.
func (b *Build) Path() string { return b.dir + "/program" }

// Remove removes the program.
func (b *Build) Remove() error { return os.RemoveAll(b.dir) }

// GoBuild builds a static program with the Go toolchain, which finds the module
// by the current folder. The caller removes it.
func GoBuild(ctx context.Context, pkg string, test bool) (*Build, error) {
	dir, err := os.MkdirTemp("", "splitvm-rig-build.")
	if err != nil {
		return nil, err
	}
	b := &Build{Package: pkg, Test: test, dir: dir}
	args := []string{"build"}
	if test {
		args = []string{"test", "-c"}
	}
	args = append(args, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", b.Path(), pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("go build %s (in a folder of the source tree?): %w\n%s", pkg, errors.Join(ctx.Err(), err), out), b.Remove())
	}
	if _, err := os.Stat(b.Path()); err != nil { // go test -c of no tests
		return nil, errors.Join(fmt.Errorf("package %s has no tests", pkg), b.Remove())
	}
	return b, nil
}
