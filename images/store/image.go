package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"splitvm/guest/init/superblock"
)

// Image is an image of the store.
type Image struct {
	ID      v1.Hash       `json:"id"` // of its configuration, or of the disk
	Names   []string      `json:"names,omitempty"`
	Digest  v1.Hash       `json:"digest,omitzero"`  // of the manifest that it was fetched by
	Source  string        `json:"source,omitempty"` // where it came from
	Added   time.Time     `json:"added"`
	Config  v1.ConfigFile `json:"config"`
	Layers  []v1.Hash     `json:"layers,omitempty"` // their archives' digests, the lowest first
	Root    string        `json:"root"`             // a file in the store's roots
	FSType  string        `json:"fstype"`           // of the root: ext4, squashfs or erofs
	Bytes   int64         `json:"bytes"`            // of the root
	RootSHA v1.Hash       `json:"root_digest"`
}

// Errors about images.
var (
	ErrNotFound = errors.New("no such image")
	ErrInUse    = errors.New("a guest is running on it")
)

// Put adds the image, or tells more of one that is there, and gives it the
// name. Whatever the name stood for before loses it. The caller holds Adding.
func (s *Store) Put(ctx context.Context, name string, i Image) error {
	l, err := lock(ctx, s.path("locks", "names"), exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	i.Names = nil // names are told by the folder of names
	data, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	if err := s.write(s.imagePath(i.ID), append(data, '\n')); err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	return s.write(s.namePath(name), []byte(i.ID.String()+"\n"))
}

func (s *Store) imagePath(id v1.Hash) string { return s.path("images", id.Hex+".json") }

func (s *Store) namePath(name string) string { return s.path("names", url.PathEscape(name)) }

// List returns all images that have names, sorted by these.
func (s *Store) List() ([]Image, error) {
	names, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	byID := map[v1.Hash][]string{}
	for name, id := range names {
		byID[id] = append(byID[id], name)
	}
	var list []Image
	for id, names := range byID {
		i, err := s.load(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		slices.Sort(names)
		i.Names = names
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b Image) int { return strings.Compare(a.Names[0], b.Names[0]) })
	return list, nil
}

// names gives the ID that each name stands for.
func (s *Store) names() (map[string]v1.Hash, error) {
	entries, err := os.ReadDir(s.path("names"))
	if err != nil {
		return nil, err
	}
	names := map[string]v1.Hash{}
	for _, e := range entries {
		name, err := url.PathUnescape(e.Name())
		if err != nil {
			return nil, fmt.Errorf("name %s: %w", e.Name(), err)
		}
		text, err := os.ReadFile(s.path("names", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		id, err := v1.NewHash(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("name %s: %w", name, err)
		}
		names[name] = id
	}
	return names, nil
}

func (s *Store) load(id v1.Hash) (Image, error) {
	var i Image
	data, err := os.ReadFile(s.imagePath(id))
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(data, &i); err != nil {
		return i, fmt.Errorf("image %v: %w", id, err)
	}
	return i, nil
}

// minPrefix is how much of an ID is needed for an image to be known by.
const minPrefix = 6

// Find returns the image with the name or, if none has it, the one whose ID
// begins with it.
func (s *Store) Find(name string) (Image, error) {
	list, err := s.List()
	if err != nil {
		return Image{}, err
	}
	var found []Image
	prefix := strings.TrimPrefix(name, "sha256:")
	for _, i := range list {
		if slices.Contains(i.Names, name) {
			return i, nil
		}
		if len(prefix) >= minPrefix && strings.HasPrefix(i.ID.Hex, prefix) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return Image{}, fmt.Errorf("image %s: %w (`splitvm image ls` lists them)", name, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return Image{}, fmt.Errorf("image %s: the IDs of %d images begin so; give more of it", name, len(found))
}

// RootPath returns the path of the image's root file system.
func (s *Store) RootPath(i Image) string { return s.path("roots", filepath.Base(i.Root)) }

// Writable tells whether the root's file system is one that can be written, by a guest that
// has a copy of its own.
func (i Image) Writable() bool { return i.FSType == superblock.Ext4 }

// Use keeps the image's root from being removed until the lock is closed.
func (s *Store) Use(i Image) (*Lock, error) {
	l, err := tryLock(s.RootPath(i), os.O_RDONLY, shared)
	if err != nil {
		return nil, fmt.Errorf("image %v: its root: %w", i.ID, err)
	}
	return l, nil
}
