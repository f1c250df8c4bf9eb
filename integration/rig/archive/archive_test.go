package archive

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// list tells what is below dir: names with mode and text or target.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text []byte
		switch {
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = []byte(target)
		case d.Type().IsRegular():
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		name, err := filepath.Rel(dir, path)
		out[name] = info.Mode().String() + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	src := filepath.Join(t.TempDir(), "tree")
	for _, dir := range []string{"a/b", "empty"} {
		if err := os.MkdirAll(filepath.Join(src, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, perm := range map[string]fs.FileMode{"a/b/data": 0o600, "script": 0o755, "none": 0o644} {
		text := bytes.Repeat([]byte(name), 1000*(len(name)%4))
		if err := os.WriteFile(filepath.Join(src, name), text, perm); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("b/data", filepath.Join(src, "a/link")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, src+"/"); err != nil {
		t.Fatal(err)
	}
	dst := t.TempDir()
	for range 2 { // the second over the first
		if err := Unpack(bytes.NewReader(out.Bytes()), filepath.Join(dst, "new")); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(list(t, filepath.Dir(src)), list(t, filepath.Join(dst, "new"))); diff != "" {
		t.Error(diff)
	}
}

func TestOneFile(t *testing.T) {
	src := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(src, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, src); err != nil {
		t.Fatal(err)
	}
	dst := t.TempDir()
	if err := Unpack(&out, dst); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "result.json")); string(got) != "{}" {
		t.Errorf("%q, %v", got, err)
	}
	if err := Write(&out, filepath.Join(dst, "nothing")); err == nil {
		t.Error("of a file that isn't there: no error")
	}
}

// pack makes an archive of headers with a byte each.
func pack(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 1
		}
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size == 1 {
			if _, err := w.Write([]byte("!")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestStaysInside(t *testing.T) {
	dir := t.TempDir()
	for name, archive := range map[string][]byte{
		"up":           pack(t, tar.Header{Typeflag: tar.TypeReg, Name: "../out"}),
		"absolute":     pack(t, tar.Header{Typeflag: tar.TypeReg, Name: dir + "/out"}),
		"through link": pack(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, tar.Header{Typeflag: tar.TypeReg, Name: "l/out"}),
		"device":       pack(t, tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}),
	} {
		if err := Unpack(bytes.NewReader(archive), filepath.Join(dir, "in")); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Lstat(filepath.Join(dir, "out")); err == nil {
			t.Errorf("%s: a file got out", name)
		}
	}
}

func TestTruncated(t *testing.T) {
	whole := pack(t, tar.Header{Typeflag: tar.TypeReg, Name: "a"}, tar.Header{Typeflag: tar.TypeReg, Name: "b"})
	for _, n := range []int{100, 512, 1024 + 100} {
		if err := Unpack(bytes.NewReader(whole[:n]), t.TempDir()); err == nil {
			t.Errorf("cut after %d bytes: no error", n)
		}
	}
}
