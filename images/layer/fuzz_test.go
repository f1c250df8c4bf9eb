package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"path"
	"strings"
	"testing"
)

// FuzzMerge has two layers of anything, cut at the given place. Whatever comes
// out must be one clean archive that stays inside: each name once, directories before what is
// in them, no whiteouts, and every hard link to a file that is there.
func FuzzMerge(f *testing.F) {
	add := func(a, b Source) {
		low := a.(archive)
		f.Add(append(append([]byte{}, low...), b.(archive)...), len(low))
	}
	t := &testing.T{}
	add(entries(t, "a/b/c=x", "l->../a", "h=>a/b/c"), entries(t, "a/.wh.b", "l/n=1", ".wh..wh..opq"))
	add(entries(t, "/abs=1", "../up=2"), entries(t, "a=>../b", "d/.wh..."))
	add(entries(t, "a->b", "b->a", "a/x=1"), entries(t, "a/", "a/x=2"))
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		cut = min(max(cut, 0), len(data))
		layers := []Source{archive(data[:cut]), archive(data[cut:])}
		tree, err := Merge(t.Context(), layers, Limits{Files: 1000, Bytes: 1 << 20, Meta: 1 << 20, Lookup: 100000})
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := tree.WriteTar(t.Context(), &out); err != nil {
			t.Skip(err) // what a tar archive can't tell
		}
		checkClean(t, &out)
	})
}

func checkClean(t *testing.T, r io.Reader) {
	seen := map[string]byte{".": tar.TypeDir}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if name == "" || path.Clean(name) != name || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || len(name) > maxPath {
			t.Fatalf("the name %q", h.Name)
		}
		if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
			t.Fatalf("a whiteout: %q", h.Name)
		}
		if _, again := seen[name]; again {
			t.Fatalf("%q twice", name)
		}
		seen[name] = h.Typeflag
		if seen[path.Dir(name)] != tar.TypeDir {
			t.Fatalf("%q is in no directory", name)
		}
		if h.Typeflag == tar.TypeLink && seen[h.Linkname] != tar.TypeReg {
			t.Fatalf("%q is a link to %q, which is no file", name, h.Linkname)
		}
	}
}
