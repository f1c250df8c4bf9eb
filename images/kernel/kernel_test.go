package kernel

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// deb makes a Debian package of the entries.
func deb(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var data bytes.Buffer
	z, err := zstd.NewWriter(&data)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range entries {
		text := []byte(h.Name)
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Size, h.Mode = int64(len(text)), 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write(text)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.xz", []byte("odd")}, {"data.tar.zst", data.Bytes()}} {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out.Write(m.data)
		if len(m.data)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// tree lists the files below dir.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUnpackDeb(t *testing.T) {
	package_ := write(t, t.TempDir()+"/linux.deb", deb(t,
		&tar.Header{Name: "./boot/vmlinuz-6.1.0-1"}, &tar.Header{Name: "./boot/config-6.1.0-1"}, &tar.Header{Name: "./usr/share/doc/x"},
		&tar.Header{Name: "./lib/modules/6.1.0-1/kernel/a.ko"}, &tar.Header{Name: "./usr/lib/modules/6.1.0-1/kernel/b.ko.xz"},
		&tar.Header{Name: "./lib/modules/6.1.0-1/modules.builtin"}, &tar.Header{Name: "./lib/modules/6.1.0-1/vmlinux.debug"},
		&tar.Header{Name: "./lib/modules/6.1.0-1/build.ko", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}))
	dir := t.TempDir()
	k, err := Unpack(t.Context(), dir, package_, "")
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != "6.1.0-1" || k.Modules != dir+"/lib/modules/6.1.0-1" || k.File != dir+"/vmlinuz" {
		t.Errorf("%+v", k)
	}
	want := []string{"lib/modules/6.1.0-1/kernel/a.ko", "lib/modules/6.1.0-1/kernel/b.ko.xz", "lib/modules/6.1.0-1/modules.builtin", "vmlinuz"}
	if d := cmp.Diff(want, tree(t, dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestUnpackDebRefuses(t *testing.T) {
	good := deb(t, &tar.Header{Name: "boot/vmlinuz-1"}, &tar.Header{Name: "lib/modules/1/a.ko"})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"no kernel":   {deb(t, &tar.Header{Name: "usr/include/x.h"}), "no kernel in it"},
		"two":         {deb(t, &tar.Header{Name: "boot/vmlinuz-1"}, &tar.Header{Name: "lib/modules/1/a.ko"}, &tar.Header{Name: "lib/modules/2/a.ko"}), "2 kernels"},
		"cut off":     {good[:len(good)-20], "EOF"},
		"a tar":       {[]byte(strings.Repeat("x", 1000)), "no Debian package"},
		"empty":       {nil, "no Debian package"},
		"no archive":  {good[:80], "no archive of files"},
		"size is odd": {bytes.Replace(good, []byte("100644  4   "), []byte("100644  -4  "), 1), "damaged"},
	} {
		_, err := Unpack(t.Context(), t.TempDir(), write(t, t.TempDir()+"/x.deb", c.data), "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// Names that lead out of the folder lead nowhere.
func TestUnpackStaysInside(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := write(t, t.TempDir()+"/x.deb", deb(t, &tar.Header{Name: "boot/vmlinuz-1"}, &tar.Header{Name: "lib/modules/../../../../evil.ko"},
		&tar.Header{Name: "lib/modules/1", Typeflag: tar.TypeSymlink, Linkname: outer}, &tar.Header{Name: "lib/modules/1/a.ko"}))
	if _, err := Unpack(t.Context(), dir, p, ""); err != nil {
		t.Error(err)
	}
	if got := tree(t, outer); !slices.Equal(got, []string{"in/lib/modules/1/a.ko", "in/vmlinuz"}) {
		t.Errorf("there is %q", got)
	}
}

func TestUnpackFolder(t *testing.T) {
	root := t.TempDir()
	for _, f := range []string{"boot/vmlinuz-6.2.0", "boot/vmlinuz-6.12.0", "boot/initrd.img-6.12.0", "lib/modules/6.12.0/k/a.ko.zst", "lib/modules/6.2.0/b.ko"} {
		write(t, filepath.Join(root, f), []byte(f))
	}
	dir := t.TempDir()
	k, err := Unpack(t.Context(), dir, root+"/boot", "")
	if err != nil || k.Release != "6.12.0" {
		t.Errorf("%+v, %v", k, err)
	}
	if got := tree(t, dir); !slices.Equal(got, []string{"lib/modules/6.12.0/k/a.ko.zst", "vmlinuz"}) {
		t.Errorf("there is %q", got)
	}
	k, err = Unpack(t.Context(), t.TempDir(), root+"/boot/vmlinuz-6.12.0", root+"/lib/modules/6.2.0")
	if err != nil || k.Release != "6.2.0" {
		t.Errorf("with other modules: %+v, %v", k, err)
	}
	if _, err := Unpack(t.Context(), t.TempDir(), t.TempDir(), ""); err == nil {
		t.Error("an empty folder has a kernel")
	}
}

// A bare file tells its release itself.
func TestImageRelease(t *testing.T) {
	image := make([]byte, 4096)
	copy(image[0x202:], "HdrS")
	image[0x20E], image[0x20F] = 0x00, 0x01
	copy(image[0x300:], "6.99.1-test (builder) #1\x00")
	k, err := Unpack(t.Context(), t.TempDir(), write(t, t.TempDir()+"/bzImage", image), "")
	if err != nil || k.Release != "6.99.1-test" || k.Modules != "" {
		t.Errorf("%+v, %v", k, err)
	}
	image[0x20F] = 0xFF
	if r, err := imageRelease(write(t, t.TempDir()+"/bzImage", image)); r != "" || err != nil {
		t.Errorf("a version beyond the file: %q, %v", r, err)
	}
}

func FuzzDeb(f *testing.F) {
	f.Add(deb(f, &tar.Header{Name: "boot/vmlinuz-1"}, &tar.Header{Name: "lib/modules/1/a.ko"}))
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		_ = unpackDeb(t.Context(), io.LimitReader(bytes.NewReader(data), 1<<20), root) // most are no packages
		entries, err := os.ReadDir(outer)
		if err != nil || len(entries) != 1 {
			t.Errorf("%v, %v: something got out", entries, err)
		}
	})
}
