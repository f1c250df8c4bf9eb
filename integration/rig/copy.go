package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"splitvm/integration/rig/archive"
)

// Pull copies a file, or a folder with all in it, from the machine into the
// host's folder dir, under its own name, and returns where it is.
func (m *Machine) Pull(ctx context.Context, name, dir string) (string, error) {
	r, w := io.Pipe()
	unpacked := make(chan error, 1)
	go func() { // ends with the archive or with the pipe, and is waited for
		err := archive.Unpack(r, dir)
		r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		unpacked <- err
	}()
	err := m.Run(ctx, Cmd{Stdout: w, pull: name})
	w.CloseWithError(err) // the archive's end where there was none
	if local := <-unpacked; err == nil && local != nil {
		err = fmt.Errorf("rig: pull %s to %s: %w", name, dir, local)
	}
	return filepath.Join(dir, filepath.Base(name)), err
}

// Push copies a file of the host, or a folder with all in it, into the machine's
// folder dir, which is made where it is not there, under its own name.
func (m *Machine) Push(ctx context.Context, hostPath, dir string) error {
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() { // ends with the files or with the pipe, and is waited for
		err := archive.Write(w, hostPath)
		w.CloseWithError(err)
		packed <- err
	}()
	err := m.Run(ctx, Cmd{Stdin: r, push: dir})
	r.Close()
	if local := <-packed; local != nil && !errors.Is(local, io.ErrClosedPipe) {
		err = errors.Join(fmt.Errorf("rig: push %s to %s: %w", hostPath, dir, local), err)
	}
	return err
}
