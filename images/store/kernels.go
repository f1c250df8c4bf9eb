package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"splitvm/images/kernel"
)

// Kernel is a kernel of the store.
type Kernel struct {
	Name    string `json:"name"`
	Default bool   `json:"default"`
	kernel.Kernel
}

// ErrNoKernel is wrapped by the error about a kernel that is not there.
var ErrNoKernel = errors.New("no such kernel in the store")

// kernelName keeps names fit for files.
var kernelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+~-]{0,127}$`).MatchString

// AddKernel adds a kernel, as kernel.Unpack finds it, under the name, "" for its
// release, in place of one that has it. The first, or one with asDefault, is what guests get
// that ask for none.
func (s *Store) AddKernel(ctx context.Context, name, from, modules string, asDefault bool) (Kernel, error) {
	adding, err := s.Adding(ctx)
	if err != nil {
		return Kernel{}, err
	}
	defer adding.Close()
	tmp, err := os.MkdirTemp(s.path("tmp"), "kernel.")
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(tmp) // nothing, once it was renamed
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Kernel{}, err
	}
	k, err := kernel.Unpack(ctx, tmp, from, modules)
	if err != nil {
		return Kernel{}, err
	}
	if name == "" {
		name = k.Release
	}
	if !kernelName(name) {
		return Kernel{}, fmt.Errorf("kernel %s: the name %q can't be used: give another with --name", from, name)
	}
	if err := s.placeKernel(ctx, tmp, name, asDefault); err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return s.Kernel(name)
}

// placeKernel gives a folder that is complete its name.
func (s *Store) placeKernel(ctx context.Context, dir, name string, asDefault bool) error {
	l, err := lock(ctx, s.path("locks", "names"), exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := errors.Join(os.MkdirAll(s.path("kernels"), 0o755), os.RemoveAll(s.path("kernels", name))); err != nil {
		return err
	}
	if err := rename(dir, s.path("kernels", name)); err != nil {
		return err
	}
	if _, err := s.Kernel(""); asDefault || err != nil {
		return s.write(s.defaultKernel(), []byte(name+"\n"))
	}
	return nil
}

func (s *Store) defaultKernel() string { return s.path("default-kernel") }

// Kernel returns the kernel of the name, "" for the default.
func (s *Store) Kernel(name string) (Kernel, error) {
	text, err := os.ReadFile(s.defaultKernel())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, err
	}
	standard := strings.TrimSpace(string(text))
	if name == "" {
		name = standard
	}
	if !kernelName(name) {
		return Kernel{}, ErrNoKernel
	}
	dir := s.path("kernels", name)
	if _, err := os.Stat(dir); err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: %w", name, ErrNoKernel)
	}
	k, err := kernel.Open(dir)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return Kernel{Name: name, Default: name == standard, Kernel: k}, nil
}

// Kernels lists the kernels, sorted by name.
func (s *Store) Kernels() ([]Kernel, error) {
	dirs, err := filepath.Glob(s.path("kernels", "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(dirs)
	var list []Kernel
	for _, dir := range dirs {
		k, err := s.Kernel(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// SetDefaultKernel makes the kernel of the name what guests get that ask for
// none.
func (s *Store) SetDefaultKernel(name string) error {
	if _, err := s.Kernel(name); err != nil || name == "" {
		return errors.Join(err, ErrNoKernel)
	}
	return s.write(s.defaultKernel(), []byte(name+"\n"))
}

// RemoveKernel removes the kernel. Guests that run have it in memory.
func (s *Store) RemoveKernel(ctx context.Context, name string) error {
	l, err := lock(ctx, s.path("locks", "names"), exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	if !kernelName(name) {
		return fmt.Errorf("kernel %q: %w", name, ErrNoKernel)
	}
	if _, err := os.Stat(s.path("kernels", name)); err != nil {
		return fmt.Errorf("kernel %s: %w", name, ErrNoKernel)
	}
	return os.RemoveAll(s.path("kernels", name))
}
