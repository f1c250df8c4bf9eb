package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"splitvm/images/layer"
)

// A plain configuration for what has none.
var plain = v1.Config{Cmd: []string{"/run"}, Env: []string{"X=y"}, User: "7", WorkingDir: "/w"}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// layoutOf makes an OCI layout of an image.
func layoutOf(t testing.TB, tag string, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.AppendImage(image, layout.WithAnnotations(map[string]string{refName: tag})); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Everything that an image can come in gives the same root, and keeps what it
// says of its command.
func TestImport(t *testing.T) {
	image := imageOf(t, map[string]string{"a": "low", "b": "gone"}, map[string]string{"a": "high", ".wh.b": ""})
	dir := layoutOf(t, "me/img:v1", image)
	packed := filepath.Join(t.TempDir(), "layout.tar")
	if out, err := exec.Command("tar", "-cf", packed, "-C", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	saved := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("me/img:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(saved, tag, image); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	data, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(data)
	z.Close()
	for what, path := range map[string]string{
		"a layout": dir, "an archive of a layout": packed, "docker save": saved,
		"docker save, compressed": writeFile(t, t.TempDir()+"/saved.tgz", zipped.Bytes()),
	} {
		s := openStore(t)
		i, err := Import(t.Context(), s, path, v1.Config{}, Options{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := cat(t, s, i, "a"); got != "high" || i.Config.Config.User != "daemon" || !slices.Equal(i.Names, []string{FullName("me/img:v1")}) {
			t.Errorf("%s: a is %q, %+v", what, got, i)
		}
		if left := files(t, s, "partial", "tmp"); len(left) > 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
}

func TestImportTree(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", []byte("text"))
	if err := errors.Join(os.Link(dir+"/file", dir+"/hard"), os.Symlink("/file", dir+"/soft"), os.Mkdir(dir+"/d", 0o750), os.Chmod(dir+"/file", os.ModeSetuid|0o711)); err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(t.TempDir(), "My-Tree.tar.xz")
	if out, err := exec.Command("tar", "-cJf", packed, "-C", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	for _, path := range []string{dir, packed} {
		s := openStore(t)
		i, err := Import(t.Context(), s, path, plain, Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("unsquashfs", "-ll", s.RootPath(i)).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"-rws--x--x", "squashfs-root/soft -> /file", "drwxr-x---", "squashfs-root/hard"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", path, want, out)
			}
		}
		if c := i.Config.Config; !slices.Equal(c.Cmd, plain.Cmd) || c.User != "7" {
			t.Errorf("%s: the configuration is %+v", path, c)
		}
		if path == packed && i.Names[0] != FullName("my-tree") {
			t.Errorf("its name is %q", i.Names)
		}
	}
}

// What is no plain file in a folder gets through, and an archive that is not read to its end ends.
func TestTarFolder(t *testing.T) {
	dir := t.TempDir()
	big := writeFile(t, dir+"/a", nil)
	if err := errors.Join(os.Truncate(big, 1<<20), os.Link(dir+"/a", dir+"/b"), unix.Mkfifo(dir+"/p", 0o600)); err != nil {
		t.Fatal(err)
	}
	r, err := tarFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+" "+string(h.Typeflag)+h.Linkname)
	}
	if !slices.Equal(got, []string{"./ 5", "a 0", "b 1a", "p 6"}) {
		t.Errorf("the archive has %q", got)
	}
	stopped, err := tarFolder(t.Context(), dir) // and is not read
	if err != nil {
		t.Fatal(err)
	}
	if err := stopped.Close(); err != nil {
		t.Error(err)
	}
}

func TestImportDisk(t *testing.T) {
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		if mke2fs, err = exec.LookPath("/sbin/mke2fs"); err != nil {
			t.Skip("needs mke2fs: apt-get install e2fsprogs")
		}
	}
	disk := filepath.Join(t.TempDir(), "root.img")
	writeFile(t, disk, nil)
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mke2fs, "-q", "-t", "ext4", disk).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	s := openStore(t)
	i, err := Import(t.Context(), s, disk, plain, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(s.RootPath(i))
	if err != nil || !bytes.Equal(got, want) || i.Names[0] != FullName("root") || !i.Writable() {
		t.Errorf("%v: %d bytes, and %d of the disk; %v", err, len(got), len(want), i.Names)
	}
	var a, b = stat(t, disk), stat(t, s.RootPath(i))
	if b > 2*a+1<<20 {
		t.Errorf("%d bytes of a disk with %d", b, a)
	}
}

// stat is how much space a file takes.
func stat(t *testing.T, file string) int64 {
	t.Helper()
	out, err := exec.Command("du", "-B1", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, c := range strings.Fields(string(out))[0] {
		n = n*10 + int64(c-'0')
	}
	return n
}

func TestImportRefuses(t *testing.T) {
	s := openStore(t)
	two := layoutOf(t, "one:1", imageOf(t, map[string]string{"a": "1"}))
	index, err := layout.FromPath(two)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.AppendImage(imageOf(t, map[string]string{"a": "2"}), layout.WithAnnotations(map[string]string{refName: "two:1"})); err != nil {
		t.Fatal(err)
	}
	evil := tarOf(t, map[string]string{"oci-layout": "{}", "../../evil": "x", "blobs/sha256/../../../evil": "x"})
	for path, want := range map[string]string{
		two: "--name",
		writeFile(t, t.TempDir()+"/rubbish", []byte(strings.Repeat("rubbish", 1000))): "neither an archive",
		writeFile(t, t.TempDir()+"/parts", append(make([]byte, 510), 0x55, 0xAA)):     "partitions",
		writeFile(t, t.TempDir()+"/empty", nil):                                       "nothing is in it",
		writeFile(t, t.TempDir()+"/evil.tar", evil):                                   "index.json",
		"/no/such/file": "no such file",
	} {
		if _, err := Import(t.Context(), s, path, plain, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), "..", "evil")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something got out: %v", err)
	}
	bomb := writeFile(t, t.TempDir()+"/bomb.tar", tarOf(t, map[string]string{"big": strings.Repeat("\x00", 1<<20)}))
	if _, err := Import(t.Context(), s, bomb, plain, Options{Limits: layer.Limits{Bytes: 1 << 19}}); !errors.Is(err, layer.ErrLimit) {
		t.Errorf("a large one: %v", err)
	}
	if left := files(t, s, "layers", "roots", "names", "tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if i, err := Import(t.Context(), s, two, plain, Options{Name: "two:1"}); err != nil || cat(t, s, i, "a") != "2" {
		t.Errorf("one of two: %v", err)
	}
}
