package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// partialLife is how long what was fetched of a layer is kept for who fetches
// it again.
const partialLife = 24 * time.Hour

// Remove takes the name from its image. An image that has lost its last name is
// removed, unless a guest is running on it: then nothing changes. An ID
// removes all names of its image.
func (s *Store) Remove(ctx context.Context, name string) error {
	if err := s.remove(ctx, name); err != nil {
		return err
	}
	return s.Sweep(ctx)
}

func (s *Store) remove(ctx context.Context, name string) error {
	l, err := lock(ctx, s.path("locks", "names"), exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	i, err := s.Find(name)
	if err != nil {
		return err
	}
	going := i.Names
	if slices.Contains(i.Names, name) {
		going = []string{name}
	}
	files := []string{}
	if len(going) == len(i.Names) {
		use, err := s.unused(i)
		if err != nil {
			return fmt.Errorf("remove image %s: %w", name, err)
		}
		defer use.Close()
		files = append(files, s.imagePath(i.ID))
	}
	for _, n := range going {
		files = append(files, s.namePath(n))
	}
	for _, f := range slices.Backward(files) { // names first: none is ever without its image
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("remove image %s: %w", name, err)
		}
	}
	return nil
}

// unused locks the image's root, so that no guest starts on it, unless another
// image has the same.
func (s *Store) unused(i Image) (*Lock, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, other := range list {
		if other.ID != i.ID && other.Root == i.Root {
			return &Lock{}, nil
		}
	}
	l, err := tryLock(s.RootPath(i), os.O_RDONLY, exclusive)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Lock{}, nil
	case errors.Is(err, errLocked):
		return nil, ErrInUse
	}
	return l, err
}

// Sweep removes what no image needs. Where images are being added it leaves
// that to who finishes last.
func (s *Store) Sweep(ctx context.Context) error {
	add, err := tryLock(s.path("locks", "add"), os.O_RDWR|os.O_CREATE, exclusive)
	if errors.Is(err, errLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer add.Close()
	l, err := lock(ctx, s.path("locks", "names"), exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := s.sweep(); err != nil {
		return fmt.Errorf("image store: sweep: %w", err)
	}
	return nil
}

func (s *Store) sweep() error {
	list, err := s.List()
	if err != nil {
		return err
	}
	needed := map[string]bool{"locks/add": true, "locks/names": true}
	for _, i := range list {
		needed["images/"+i.ID.Hex+".json"] = true
		needed["roots/"+i.Root] = true
		for _, l := range i.Layers {
			needed["layers/"+l.Hex] = true
		}
	}
	var errs []error
	for _, sub := range []string{"layers", "images", "roots", "locks", "tmp", "partial"} {
		entries, err := os.ReadDir(s.path(sub))
		errs = append(errs, err)
		for _, e := range entries {
			if !needed[sub+"/"+e.Name()] && !s.keep(sub, e) {
				errs = append(errs, os.RemoveAll(s.path(sub, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// keep tells whether something that no image needs stays: a root that a guest
// runs on, and what was fetched of a layer not long ago.
func (s *Store) keep(sub string, e fs.DirEntry) bool {
	switch sub {
	case "partial":
		info, err := e.Info()
		return err == nil && time.Since(info.ModTime()) < partialLife
	case "roots":
		if strings.HasPrefix(e.Name(), ".") {
			return false
		}
		l, err := tryLock(filepath.Join(s.path(sub), e.Name()), os.O_RDONLY, exclusive)
		if err != nil {
			return true
		}
		l.Close()
	}
	return false
}
