package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DirEnv names the folder of the store.
const DirEnv = "SPLITVM_IMAGES"

// format is what a store's file of that name has in it.
const format = "1\n"

// DefaultDir is $SPLITVM_IMAGES, or splitvm/images in the user's data folder
// ($XDG_DATA_HOME or ~/.local/share).
func DefaultDir() (string, error) {
	if dir := os.Getenv(DirEnv); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "splitvm", "images"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("image store: no folder for it: set %s: %w", DirEnv, err)
	}
	return filepath.Join(home, ".local", "share", "splitvm", "images"), nil
}

// Store is an open store. Its methods may be called concurrently.
type Store struct {
	dir string // absolute
}

var subfolders = []string{"layers", "partial", "images", "names", "roots", "locks", "tmp"}

// Open opens the store in the folder, "" for the default, and makes it where it
// is not there.
func Open(dir string) (*Store, error) {
	s, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("image store: %w (another folder: --store or %s)", err, DirEnv)
	}
	return s, nil
}

func open(dir string) (*Store, error) {
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir}
	for _, sub := range subfolders {
		if err := os.MkdirAll(s.path(sub), 0o755); err != nil {
			return nil, err
		}
	}
	have, err := os.ReadFile(s.path("format"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, s.write(s.path("format"), []byte(format))
	case err != nil:
		return nil, err
	case string(have) != format:
		return nil, fmt.Errorf("%s has format %q, and this splitvm knows only %q: use another folder, or the splitvm that made it",
			dir, strings.TrimSpace(string(have)), strings.TrimSpace(format))
	}
	return s, nil
}

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// write makes a file with the content, or replaces it, at once and durably.
func (s *Store) write(path string, data []byte) error {
	f, err := os.CreateTemp(s.path("tmp"), "file.")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing, once it was renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return rename(f.Name(), path)
}

// rename gives a complete file its name, durably.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Adding is held while an image is added: what has no name yet is not swept away.
// Close it.
func (s *Store) Adding(ctx context.Context) (*Lock, error) {
	return lock(ctx, s.path("locks", "add"), shared)
}
