package debs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Packages returns a folder with the .deb files of the packages and of all that
// they depend on, fetching them where the cache hasn't them. What is essential depends
// on nothing but has to be asked for.
func (c *Cache) Packages(ctx context.Context, packages ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, packages)
	return c.Entry(ctx, fmt.Sprintf("debs-%.6x", h.Sum(nil)), func(dir string) error {
		a, err := c.apt(ctx)
		if err != nil {
			return err
		}
		c.Say("downloading %d packages and what they need, once", len(packages))
		if _, err := a.closure(ctx, dir, packages); err != nil {
			return err
		}
		return errors.Join(os.RemoveAll(filepath.Join(dir, "partial")), os.RemoveAll(filepath.Join(dir, "lock")))
	})
}
