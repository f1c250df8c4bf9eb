package layer

import (
	"errors"
	"fmt"
	"strings"
)

// Names of the entries that hide (image-spec, layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..opq" // less the prefix: .wh..wh..opq
)

// applyWhiteout applies an entry, in the directory that parents lead to, that hides
// something of lower layers: the named file, or all that the directory has. Other names with
// two prefixes are notes of aufs to itself.
func (t *Tree) applyWhiteout(parents []string, hidden string, layer int) error {
	switch {
	case hidden == "" || hidden == "." || hidden == "..":
		return fmt.Errorf("it hides %q: %w", hidden, errBadName)
	case hidden != opaqueName && strings.HasPrefix(hidden, whiteoutPrefix):
		return nil
	}
	w := t.walk(false, layer)
	err := w.down(parents)
	if errors.Is(err, errNotThere) {
		return nil // nor is there anything to hide
	}
	if err != nil {
		return err
	}
	dir := w.here()
	if hidden == opaqueName {
		return t.hideAll(dir, layer)
	}
	n := dir.children[hidden]
	if n == nil {
		return nil
	}
	kept, err := t.hide(n, layer)
	if !kept && err == nil {
		delete(dir.children, hidden)
	}
	return err
}

// hideAll hides what is in a directory as far as it is of layers below the given
// one.
func (t *Tree) hideAll(dir *node, layer int) error {
	for name, n := range dir.children {
		kept, err := t.hide(n, layer)
		if err != nil {
			return err
		}
		if !kept {
			delete(dir.children, name)
		}
	}
	return nil
}

// hide hides n as far as it is of lower layers, and tells whether anything of
// it is kept. A directory of a lower layer that has to stay for what is in it is a new one.
func (t *Tree) hide(n *node, layer int) (kept bool, err error) {
	if err := spend(&t.lookup, 1, "the work of hiding files"); err != nil {
		return true, err
	}
	if n.isDir() {
		if err := t.hideAll(n, layer); err != nil {
			return true, err
		}
	}
	if n.layer == layer {
		return true, nil
	}
	if len(n.children) == 0 {
		return false, nil
	}
	n.inode, n.layer = newDir(layer).inode, layer
	return true, nil
}
