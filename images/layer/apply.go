package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// Source is a layer.
type Source interface {
	// Open returns the layer's archive, not compressed, from its beginning. It is
	// called up to twice, and closed.
	Open() (io.ReadCloser, error)
	// String names the layer for errors.
	String() string
}

// Merge reads the layers, the lowest first, and returns their tree.
func Merge(ctx context.Context, layers []Source, limits Limits) (*Tree, error) {
	limits = limits.withDefaults()
	t := &Tree{
		root: newDir(0), sources: layers, limits: limits,
		files: int64(limits.Files), bytes: limits.Bytes, meta: limits.Meta, lookup: limits.Lookup,
	}
	stream := limits.Bytes
	for i, l := range layers {
		if err := t.readLayer(ctx, i, l, &stream); err != nil {
			return nil, fmt.Errorf("layer %v: %w", l, err)
		}
	}
	return t, nil
}

// readLayer applies a layer's entries. The archive is read to the end of the
// file, so that who computes a digest on the way has all of it.
func (t *Tree) readLayer(ctx context.Context, index int, l Source, stream *int64) (err error) {
	f, err := l.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := &bounded{ctx: ctx, r: f, left: stream}
	archive := tar.NewReader(r)
	for entry := 0; ; entry++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := t.apply(h, position{index, entry}); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// apply applies an entry of a layer.
func (t *Tree) apply(h *tar.Header, at position) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	parts, err := split(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return t.applyRoot(h)
	}
	parents, name := parts[:len(parts)-1], parts[len(parts)-1]
	if hidden, ok := strings.CutPrefix(name, whiteoutPrefix); ok {
		return t.applyWhiteout(parents, hidden, at.layer)
	}
	w := t.walk(true, at.layer)
	if err := w.down(parents); err != nil {
		return err
	}
	dir := w.here()
	if err := t.spendFile(dir, name); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		return t.applyLink(h, dir, name, at.layer)
	}
	inode, err := t.newInode(h, at)
	if err != nil {
		return err
	}
	put(dir, name, inode, at.layer)
	return nil
}

// applyRoot takes what an archive says of the root itself.
func (t *Tree) applyRoot(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("the root is no directory")
	}
	inode, err := t.newInode(h, position{})
	if err == nil {
		t.root.inode = inode
	}
	return err
}

// put gives the name a new inode. A directory keeps what is in it where the new
// one is a directory too; anything else is replaced.
func put(dir *node, name string, i *inode, layer int) {
	n := &node{inode: i, layer: layer, length: dir.length + 1 + len(name)}
	if i.kind == tar.TypeDir {
		n.children = map[string]*node{}
		if old := dir.children[name]; old != nil && old.isDir() {
			n.children = old.children
		}
	}
	dir.children[name] = n
}

// applyLink makes the name a further one of the inode that the link leads to.
func (t *Tree) applyLink(h *tar.Header, dir *node, name string, layer int) error {
	target, err := t.find(h.Linkname)
	switch {
	case errors.Is(err, errNotThere):
		return fmt.Errorf("hard link to %q: %w", h.Linkname, errNoTarget)
	case err != nil:
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	case target.isDir():
		return fmt.Errorf("hard link to %q: it is a directory", h.Linkname)
	}
	if dir.children[name] != target { // a link to itself changes nothing
		put(dir, name, target.inode, layer)
	}
	return nil
}

var kinds = map[byte]byte{
	tar.TypeReg: tar.TypeReg, tar.TypeCont: tar.TypeReg, tar.TypeGNUSparse: tar.TypeReg, '\x00': tar.TypeReg,
	tar.TypeDir: tar.TypeDir, tar.TypeSymlink: tar.TypeSymlink, tar.TypeFifo: tar.TypeFifo,
	tar.TypeChar: tar.TypeChar, tar.TypeBlock: tar.TypeBlock,
}

// newInode checks what a header says.
func (t *Tree) newInode(h *tar.Header, at position) (*inode, error) {
	kind, ok := kinds[h.Typeflag]
	if !ok {
		return nil, fmt.Errorf("unknown kind of entry %q", h.Typeflag)
	}
	if h.Uid < 0 || h.Uid > maxID || h.Gid < 0 || h.Gid > maxID {
		return nil, fmt.Errorf("owner %d:%d is none that Linux has", h.Uid, h.Gid)
	}
	i := &inode{kind: kind, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid, mtime: clampTime(h.ModTime), at: at}
	switch kind {
	case tar.TypeReg:
		i.size = h.Size
		if err := spend(&t.bytes, h.Size, "the contents of all files"); err != nil {
			return nil, err
		}
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxPath || strings.ContainsRune(h.Linkname, 0) {
			return nil, fmt.Errorf("symbolic link to %.64q: %w", h.Linkname, errBadName)
		}
		i.target = h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor > maxDevice || h.Devminor < 0 || h.Devminor > maxDevices {
			return nil, fmt.Errorf("device %d:%d is none that Linux has", h.Devmajor, h.Devminor)
		}
		i.major, i.minor = h.Devmajor, h.Devminor
	}
	i.xattrs = xattrsOf(h)
	n := int64(len(i.target))
	for name, value := range i.xattrs {
		if len(value) > maxXattr {
			return nil, fmt.Errorf("extended attribute %q has %d bytes", name, len(value))
		}
		n += int64(len(name) + len(value))
	}
	return i, spend(&t.meta, n, "names and attributes")
}

func clampTime(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), 0), maxTime), 0)
}

// xattrPrefix is what the names of extended attributes have before them in PAX
// records.
const xattrPrefix = "SCHILY.xattr."

// xattrsOf gives the extended attributes that a root file system can have. Those of
// overlayfs would make the tree lie about what is in it when it becomes a layer.
func xattrsOf(h *tar.Header) map[string]string {
	var kept map[string]string
	for record, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(record, xattrPrefix)
		if !ok || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		for _, space := range []string{"user.", "trusted.", "security."} {
			if strings.HasPrefix(name, space) && len(name) > len(space) && len(name) <= math.MaxUint8 {
				if kept == nil {
					kept = map[string]string{}
				}
				kept[record] = value
			}
		}
	}
	return kept
}
