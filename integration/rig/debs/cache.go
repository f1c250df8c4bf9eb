package debs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// CacheEnv names the folder that the rig's files are cached in.
const CacheEnv = "SPLITVM_CACHE"

// DefaultDir returns the cache folder: $SPLITVM_CACHE, or splitvm in the user's
// cache folder ($XDG_CACHE_HOME or ~/.cache).
func DefaultDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder: set %s: %w", CacheEnv, err)
	}
	return filepath.Join(dir, "splitvm"), nil
}

// A Cache is a cache folder. Its methods may be called concurrently, and by
// several processes on the same folder.
type Cache struct {
	dir      string    // absolute
	progress io.Writer // what is being done and takes long, a line each

	mu     sync.Mutex
	lists  *apt      // guarded by mu; the private apt, once its lists were read
	listed time.Time // guarded by mu; when that was
}

// Open returns the cache in folder dir (the default for ""), which is made where
// it is not there. Progress is written to progress.
func Open(dir string, progress io.Writer) (*Cache, error) {
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
	for _, sub := range []string{"store", "current", "apt"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make the cache folder (%s says where): %w", CacheEnv, err)
		}
	}
	return &Cache{dir: dir, progress: progress}, nil
}

// Dir returns the cache folder.
func (c *Cache) Dir() string { return c.dir }

// Say tells of something that takes long.
func (c *Cache) Say(format string, args ...any) {
	fmt.Fprintf(c.progress, "rig: "+format+"\n", args...)
}

// Entry returns the folder of the set called name. Where it is not there, make
// fills an empty folder with it, while no other process fetches anything; a
// folder that make fails on, or is killed on, is never seen by anybody.
func (c *Cache) Entry(ctx context.Context, name string, make func(dir string) error) (string, error) {
	if dir, ok := c.lookup(name); ok {
		return dir, nil
	}
	return c.renew(ctx, name, false, make)
}

// renew is Entry, but makes the set anew where always is true.
func (c *Cache) renew(ctx context.Context, name string, always bool, make func(dir string) error) (string, error) {
	unlock, err := lock(ctx, filepath.Join(c.dir, "lock"), func() { c.Say("waiting for another process that fetches into %s", c.dir) })
	if err != nil {
		return "", err
	}
	defer unlock()
	if dir, ok := c.lookup(name); ok && !always {
		return dir, nil // the other process made it
	}
	if err := c.removeLeftovers(); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Join(c.dir, "store"), name+".*.tmp")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp) // nothing, once renamed
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := make(tmp); err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	return c.publish(name, tmp)
}

// publish gives the folder tmp its place in the store and makes it current.
func (c *Cache) publish(name, tmp string) (string, error) {
	for n := 1; ; n++ {
		dir := filepath.Join(c.dir, "store", fmt.Sprintf("%s-%d", name, n))
		if _, err := os.Lstat(dir); err == nil {
			continue // an older one, which somebody may be using
		}
		if err := os.Rename(tmp, dir); err != nil {
			return "", err
		}
		current := filepath.Join(c.dir, "current", name)
		if err := os.WriteFile(current+".tmp", []byte(filepath.Base(dir)+"\n"), 0o644); err != nil {
			return "", err
		}
		return dir, os.Rename(current+".tmp", current)
	}
}

// lookup returns the current folder of a set, if there is one.
func (c *Cache) lookup(name string) (string, bool) {
	text, err := os.ReadFile(filepath.Join(c.dir, "current", name))
	if err != nil {
		return "", false
	}
	dir := filepath.Join(c.dir, "store", strings.TrimSpace(string(text)))
	info, err := os.Stat(dir)
	return dir, err == nil && info.IsDir()
}

// removeLeftovers removes what killed processes left; the caller has the lock.
func (c *Cache) removeLeftovers() error {
	left, err := filepath.Glob(filepath.Join(c.dir, "store", "*.tmp"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// Prune removes all sets but those in the given folders, as Entry and the like
// returned them. The caller sees to it that no machine is running on others.
func (c *Cache) Prune(ctx context.Context, keep ...string) error {
	unlock, err := lock(ctx, filepath.Join(c.dir, "lock"), func() {})
	if err != nil {
		return err
	}
	defer unlock()
	names, err := os.ReadDir(filepath.Join(c.dir, "current"))
	if err != nil {
		return err
	}
	for _, n := range names { // names first, so that none is without its folder
		if dir, _ := c.lookup(n.Name()); !slices.Contains(keep, dir) {
			err = errors.Join(err, os.Remove(filepath.Join(c.dir, "current", n.Name())))
		}
	}
	stored, readErr := os.ReadDir(filepath.Join(c.dir, "store"))
	err = errors.Join(err, readErr)
	for _, s := range stored {
		if dir := filepath.Join(c.dir, "store", s.Name()); !slices.Contains(keep, dir) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}
