package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// node is a name in the tree.
type node struct {
	inode    *inode
	children map[string]*node // of a directory; nil elsewhere
	layer    int              // that the name came with
	length   int              // of its path, in bytes
}

// inode is what one or, with hard links, several names stand for.
type inode struct {
	kind         byte // a type flag of archive/tar, TypeReg for all kinds of files
	mode         int64
	uid, gid     int
	mtime        time.Time
	target       string // of a symbolic link
	major, minor int64
	xattrs       map[string]string // by the names that PAX records have for them
	size         int64
	at           position // of its content
	implied      bool     // a directory that no archive has an entry of
}

// position is an entry of an archive: the layer, and its place there.
type position struct{ layer, entry int }

func (n *node) isDir() bool { return n.children != nil }

// Tree is the merged tree of some layers.
type Tree struct {
	root    *node
	sources []Source
	limits  Limits

	// What is left of the limits.
	files  int64
	bytes  int64
	meta   int64
	lookup int64
}

func newDir(layer int) *node {
	return &node{
		inode:    &inode{kind: tar.TypeDir, mode: 0o755, mtime: time.Unix(0, 0), implied: true},
		children: map[string]*node{}, layer: layer,
	}
}

var (
	errAbove    = errors.New("it is above the root: the archive is broken, or an attack")
	errNotDir   = errors.New("a part of it is a file")
	errTangled  = errors.New("too many symbolic links on the way")
	errBadName  = errors.New("no file can have that name")
	errNoTarget = errors.New("the target of the hard link is not there")
)

// split makes the parts of an entry's name. Absolute names are relative to the
// root, and it is no error to go up and down within it.
func split(name string) ([]string, error) {
	if len(name) > maxPath || strings.ContainsRune(name, 0) {
		return nil, errBadName
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == "." || clean == "" {
		return nil, nil
	}
	parts := strings.Split(clean, "/")
	for _, p := range parts {
		if p == ".." {
			return nil, errAbove
		}
		if len(p) > maxName {
			return nil, errBadName
		}
	}
	return parts, nil
}

// walk is a way down from the root.
type walk struct {
	t     *Tree
	make  bool // directories that are not there are made
	layer int
	way   []*node // from the root to where it is
	links int
}

func (t *Tree) walk(make bool, layer int) *walk {
	return &walk{t: t, make: make, layer: layer, way: []*node{t.root}}
}

func (w *walk) here() *node { return w.way[len(w.way)-1] }

// errNotThere is for callers that can do without.
var errNotThere = errors.New("no such file")

// down goes along the parts, each of which is a directory or a link to one.
func (w *walk) down(parts []string) error {
	for _, p := range parts {
		if err := spend(&w.t.lookup, 1, "the work of looking up paths"); err != nil {
			return err
		}
		switch p {
		case "", ".":
			continue
		case "..":
			w.way = w.way[:max(1, len(w.way)-1)] // the root's parent is the root
			continue
		}
		if err := w.step(p); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) step(name string) error {
	next := w.here().children[name]
	switch {
	case next == nil && !w.make:
		return errNotThere
	case next == nil:
		if err := w.t.spendFile(w.here(), name); err != nil {
			return err
		}
		next = newDir(w.layer)
		next.length = w.here().length + 1 + len(name)
		w.here().children[name] = next
	case next.inode.kind == tar.TypeSymlink:
		return w.follow(next.inode.target)
	case !next.isDir():
		return errNotDir
	}
	w.way = append(w.way, next)
	return nil
}

// follow goes where a symbolic link in the present directory leads.
func (w *walk) follow(target string) error {
	if w.links++; w.links > maxLinks {
		return errTangled
	}
	if strings.HasPrefix(target, "/") {
		w.way = w.way[:1]
	}
	return w.down(strings.Split(target, "/"))
}

// spendFile counts a file that is to be made in dir. Its path can be longer than
// any in the archives, as those may go through links.
func (t *Tree) spendFile(dir *node, name string) error {
	length := dir.length + 1 + len(name)
	if len(name) > maxName || length > maxPath {
		return errBadName
	}
	return errors.Join(spend(&t.files, 1, "the number of files"), spend(&t.meta, int64(length), "names and attributes"))
}

// find returns the node of a name, without following it where it is a link
// itself; nil where there is none.
func (t *Tree) find(name string) (*node, error) {
	parts, err := split(name)
	if err != nil || len(parts) == 0 {
		return t.root, err
	}
	w := t.walk(false, 0)
	if err := w.down(parts[:len(parts)-1]); err != nil {
		return nil, err
	}
	n := w.here().children[parts[len(parts)-1]]
	if n == nil {
		return nil, fmt.Errorf("%s: %w", name, errNotThere)
	}
	return n, nil
}
