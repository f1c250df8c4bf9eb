package tree

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(&b, from); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(&b, to); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	info, err := os.Lstat(path)
	if err != nil || string(got) != text || info.Mode() != mode {
		t.Errorf("%s: %q, mode %v (%v); want %q, %v", path, got, info.Mode(), err, text, mode)
	}
}

func TestCopy(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	write(t, src+"/d/a", "a's text", 0o640)
	write(t, src+"/d/sub/b", "", 0o755)
	if err := os.Symlink("../a", src+"/d/sub/link"); err != nil {
		t.Fatal(err)
	}
	then := time.Unix(1_600_000_000, 0)
	if err := os.Chtimes(src+"/d/a", then, then); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(src+"/d/sub", 0o500); err != nil {
		t.Fatal(err)
	}
	copyTree(t, src+"/d", dst)           // into a directory
	copyTree(t, src+"/d/", dst+"/other") // under another name
	for _, d := range []string{dst + "/d", dst + "/other"} {
		same(t, d+"/a", "a's text", 0o640)
		same(t, d+"/sub/b", "", 0o755)
		if to, err := os.Readlink(d + "/sub/link"); err != nil || to != "../a" {
			t.Errorf("link to %q (%v)", to, err)
		}
		if info, err := os.Stat(d + "/a"); err != nil || !info.ModTime().Equal(then) {
			t.Errorf("time of %s/a: %v (%v)", d, info.ModTime(), err)
		}
		if info, err := os.Stat(d + "/sub"); err != nil || info.Mode().Perm() != 0o500 {
			t.Errorf("mode of %s/sub: %v (%v)", d, info.Mode(), err)
		}
		os.Chmod(d+"/sub", 0o700) // so that it can be removed
	}
	os.Chmod(src+"/d/sub", 0o700)
	copyTree(t, src+"/d/a", dst+"/d/sub/b") // a file in place of one
	same(t, dst+"/d/sub/b", "a's text", 0o640)
	copyTree(t, src+"/d/a", dst+"/d/sub/link") // a link is replaced, not followed
	same(t, dst+"/d/sub/link", "a's text", 0o640)
	same(t, dst+"/d/a", "a's text", 0o640)
}

func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = 3
		}
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte("bad"))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var hostile = map[string][]tar.Header{
	"above":               {{Name: "../out", Typeflag: tar.TypeReg}},
	"absolute":            {{Name: "/tmp/out", Typeflag: tar.TypeReg}},
	"deep above":          {{Name: "a/../../out", Typeflag: tar.TypeReg}},
	"through a link":      {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/out", Typeflag: tar.TypeReg}},
	"directory by a link": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../x"}, {Name: "l/d", Typeflag: tar.TypeDir}},
	"a device":            {{Name: "dev", Typeflag: tar.TypeBlock}},
	"a hard link":         {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../secret"}},
}

func TestHostileArchives(t *testing.T) {
	for name, entries := range hostile {
		for _, to := range []string{"in", "in/new"} {
			parent := t.TempDir()
			if err := os.Mkdir(parent+"/in", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, parent+"/secret", "secret", 0o600)
			err := Unpack(bytes.NewReader(archive(t, entries...)), filepath.Join(parent, to))
			got, globErr := filepath.Glob(parent + "/*")
			if globErr != nil || len(got) != 2 {
				t.Errorf("%s to %s: %v is there (%v)", name, to, got, globErr)
			}
			if err == nil && !(to == "in/new" && (name == "above" || name == "deep above" || name == "absolute")) {
				t.Errorf("%s to %s: no error", name, to)
			}
			same(t, parent+"/secret", "secret", 0o600)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, entries := range hostile {
		f.Add(archive(f, entries...), true)
	}
	f.Add(archive(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "d/f", Typeflag: tar.TypeReg}), false)
	f.Fuzz(func(t *testing.T, p []byte, into bool) {
		parent := t.TempDir()
		to := parent + "/in"
		if err := os.Mkdir(to, 0o755); err != nil {
			t.Fatal(err)
		}
		if !into {
			to += "/new"
		}
		Unpack(bytes.NewReader(p), to)
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Fatalf("%v was written outside (%v)", entries, err)
		}
	})
}
