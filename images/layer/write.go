package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// RootMode returns the root's own mode, as in st_mode. Its owner is not kept:
// mksquashfs gives it to the superuser.
func (t *Tree) RootMode() int64 { return t.root.inode.mode }

// Newest returns the latest time of a file in the tree.
func (t *Tree) Newest() time.Time {
	newest := time.Unix(0, 0)
	t.each(func(_ string, n *node) {
		if n.inode.mtime.After(newest) {
			newest = n.inode.mtime
		}
	})
	return newest
}

// EnsureDir makes the directory where there is nothing of the name: a mount
// point that every guest needs. The path is absolute and ours.
func (t *Tree) EnsureDir(name string, mode int64) { t.ensure(name, newDir(len(t.sources)).inode, mode) }

// EnsureFile does the same for an empty file.
func (t *Tree) EnsureFile(name string, mode int64) {
	t.ensure(name, &inode{kind: tar.TypeReg, mtime: time.Unix(0, 0)}, mode)
}

func (t *Tree) ensure(name string, i *inode, mode int64) {
	dir, parts := t.root, strings.Split(strings.Trim(name, "/"), "/")
	for at, p := range parts {
		n := dir.children[p]
		if n == nil {
			n = newDir(len(t.sources))
			if at == len(parts)-1 {
				n = &node{inode: i, layer: len(t.sources)}
				i.mode = mode
				if i.kind == tar.TypeDir {
					n.children = map[string]*node{}
				}
			}
			n.length = dir.length + 1 + len(p)
			dir.children[p] = n
		}
		if !n.isDir() {
			return // a link, most likely; the image knows why
		}
		dir = n
	}
}

// each calls f for every name, a directory's before those in it, in order.
func (t *Tree) each(f func(name string, n *node)) { eachOf(t.root, "", f) }

func eachOf(dir *node, prefix string, f func(string, *node)) {
	for _, name := range slices.Sorted(maps.Keys(dir.children)) {
		n := dir.children[name]
		f(prefix+name, n)
		if n.isDir() {
			eachOf(n, prefix+name+"/", f)
		}
	}
}

// WriteTar writes the tree as one archive: directories and all that has no
// content first, then contents in the order of the layers, then further names
// of files. The root has no entry.
func (t *Tree) WriteTar(ctx context.Context, w io.Writer) error {
	out := &output{t: t, w: tar.NewWriter(w), first: map[*inode]string{}, wanted: make([]map[int]content, len(t.sources))}
	if err := out.headers(); err != nil {
		return err
	}
	left := t.limits.Bytes
	for i := range t.sources {
		if err := out.contents(ctx, i, &left); err != nil {
			return fmt.Errorf("layer %v: %w", t.sources[i], err)
		}
	}
	for _, l := range out.links {
		if err := out.w.WriteHeader(l); err != nil {
			return fmt.Errorf("entry %q: %w", l.Name, err)
		}
	}
	return out.w.Close()
}

// output is an archive that is being written.
type output struct {
	t      *Tree
	w      *tar.Writer
	first  map[*inode]string // the name that a file's content goes by
	wanted []map[int]content // by layer: the entries whose content is wanted
	links  []*tar.Header
}

type content struct {
	name  string
	inode *inode
}

// headers writes what has no content, and notes the rest.
func (o *output) headers() error {
	var err error
	o.t.each(func(name string, n *node) {
		if err != nil {
			return
		}
		i := n.inode
		first, again := o.first[i]
		switch {
		case i.kind != tar.TypeReg:
			err = o.w.WriteHeader(header(name, i))
		case i.size == 0 && !again:
			o.first[i] = name
			err = o.w.WriteHeader(header(name, i))
		case again:
			o.links = append(o.links, &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first, ModTime: i.mtime, Mode: i.mode, Uid: i.uid, Gid: i.gid})
		default:
			o.first[i] = name
			if o.wanted[i.at.layer] == nil {
				o.wanted[i.at.layer] = map[int]content{}
			}
			o.wanted[i.at.layer][i.at.entry] = content{name, i}
		}
		if err != nil {
			err = fmt.Errorf("entry %q: %w", name, err)
		}
	})
	return err
}

func header(name string, i *inode) *tar.Header {
	h := &tar.Header{
		Typeflag: i.kind, Name: name, Linkname: i.target, Size: i.size, Mode: i.mode, Uid: i.uid, Gid: i.gid,
		ModTime: i.mtime, Devmajor: i.major, Devminor: i.minor, PAXRecords: i.xattrs,
	}
	if i.kind == tar.TypeDir {
		h.Name += "/"
	}
	return h
}

var errChanged = errors.New("it is another archive than before")

// contents copies the contents that are wanted of a layer.
func (o *output) contents(ctx context.Context, index int, left *int64) (err error) {
	wanted := o.wanted[index]
	if len(wanted) == 0 {
		return nil
	}
	f, err := o.t.sources[index].Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	archive := tar.NewReader(&bounded{ctx: ctx, r: f, left: left})
	for entry := 0; len(wanted) > 0; entry++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return errChanged
		}
		if err != nil {
			return err
		}
		c, ok := wanted[entry]
		if !ok {
			continue
		}
		delete(wanted, entry)
		if err := o.content(ctx, h, c, archive); err != nil {
			return fmt.Errorf("entry %q: %w", c.name, err)
		}
	}
	return nil
}

func (o *output) content(ctx context.Context, h *tar.Header, c content, archive io.Reader) error {
	if h.Size != c.inode.size || kinds[h.Typeflag] != tar.TypeReg {
		return errChanged
	}
	if err := o.w.WriteHeader(header(c.name, c.inode)); err != nil {
		return err
	}
	holes := c.inode.size // a sparse file has more bytes than its archive
	_, err := io.Copy(o.w, &bounded{ctx: ctx, r: archive, left: &holes})
	return err
}
