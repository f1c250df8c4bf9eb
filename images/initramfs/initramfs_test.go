package initramfs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/modules"
)

// contents unpacks an archive: "drwxr-xr-x" for directories, the mode and the
// content of the rest.
func contents(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for r := cpio.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := files[h.Name]; ok {
			t.Errorf("%s is in the archive twice", h.Name)
		}
		files[h.Name] = h.FileInfo().Mode().String()
		if h.FileInfo().Mode().IsRegular() {
			files[h.Name] += " " + string(data)
		}
		if h.Linkname != "" {
			files[h.Name] += " " + h.Linkname
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s has a time: %v", h.Name, h.ModTime)
		}
	}
}

func TestOverlay(t *testing.T) {
	var b bytes.Buffer
	err := Overlay(&b,
		File{Path: "/a/b/c", Mode: 0o644, Data: []byte("first")},
		File{Path: "a/b/c", Mode: 0o755 | fs.ModeSetuid, Data: []byte("second")},
		File{Path: "/a/link", Mode: fs.ModeSymlink, Data: []byte("b/c")},
		File{Path: "/../etc", Mode: fs.ModeDir | 0o700})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/c": "urwxr-xr-x second", "a/link": "Lrwxrwxrwx b/c", "etc": "drwxr-xr-x",
	}
	want["etc"] = "drwx------"
	if d := cmp.Diff(want, contents(t, b.Bytes())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes: another archive can't follow", b.Len())
	}
}

func TestOverlayRefuses(t *testing.T) {
	for reason, files := range map[string][]File{
		"no path":         {{Path: "/"}},
		"which is a file": {{Path: "/a", Mode: 0o644}, {Path: "/a/b", Mode: 0o644}},
	} {
		if err := Overlay(io.Discard, files...); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v; want %q", err, reason)
		}
	}
	full := errors.New("disk full")
	if err := Overlay(failingWriter{full}, File{Path: "/a"}); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

func TestPadding(t *testing.T) {
	for size, want := range map[int64]int{0: 0, 1: 3, 2: 2, 3: 1, 4: 0, 1<<33 + 5: 3} {
		if got := len(Padding(size)); got != want {
			t.Errorf("Padding(%d) is %d bytes, want %d", size, got, want)
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestCommandFile(t *testing.T) {
	c := cmdline.Command{Argv: []string{"echo", strings.Repeat("long ", 1000)}}
	f, err := CommandFile(c)
	if err != nil {
		t.Fatal(err)
	}
	back, err := cmdline.ParseCommand(f.Data)
	if d := cmp.Diff(c, back); d != "" || err != nil || f.Path != cmdline.CommandFile {
		t.Errorf("%s: %v (-want +got):\n%s", f.Path, err, d)
	}
	if _, err := CommandFile(cmdline.Command{}); err == nil {
		t.Error("took a command without a program")
	}
}

// moduleTree writes a lib/modules/RELEASE with modules of several compressions.
func moduleTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lib/modules/6.9-test")
	compressors := map[string]func([]byte) []byte{
		".ko": func(b []byte) []byte { return b },
		".xz": func(b []byte) []byte {
			return compress(t, b, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
		},
		".gz": func(b []byte) []byte {
			return compress(t, b, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
		},
		".zst": func(b []byte) []byte {
			return compress(t, b, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
		},
	}
	for file, info := range map[string][]string{
		"kernel/virtio_blk.ko.xz":    {"alias=virtio:d00000002v*", "depends=virtio,virtio_ring", "license=GPL"},
		"kernel/virtio-net.ko.zst":   {"alias=virtio:d00000001v*", "depends=virtio,net-failover"},
		"kernel/net/net_failover.ko": {"depends="},
		"kernel/virtio.ko.gz":        {"depends=virtio_ring"},
		"kernel/squashfs.ko":         {"alias=fs-squashfs", "alias=two words", "depends="},
		"kernel/broken.ko":           {"depends=missing"},
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, compressors[filepath.Ext(file)](fakeModule(info...)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/modules.builtin", []byte("kernel/virtio_ring.ko\nkernel/ext4.ko\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func compress(t *testing.T, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// staticProgram builds a program that a bare initramfs could run.
func staticProgram(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-o", out, "splitvm/guest/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func TestWrite(t *testing.T) {
	init := staticProgram(t)
	c := Config{Init: init, Modules: moduleTree(t), Files: []File{{Path: "/extra", Mode: 0o600, Data: []byte("x")}}}
	var first, second bytes.Buffer
	for _, w := range []io.Writer{&first, &second} {
		if err := Write(w, c); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same are not the same")
	}
	files := contents(t, first.Bytes())
	const dir = "lib/modules/6.9-test/"
	program, err := os.ReadFile(init)
	if err != nil {
		t.Fatal(err)
	}
	if files["init"] != "-rwxr-xr-x "+string(program) {
		t.Error("/init is not the init program")
	}
	if files["extra"] != "-rw------- x" {
		t.Errorf("/extra is %q", files["extra"])
	}
	if files[dir+"kernel/virtio_blk.ko"] != "-rw-r--r-- "+string(fakeModule("alias=virtio:d00000002v*", "depends=virtio,virtio_ring", "license=GPL")) {
		t.Error("virtio_blk is not the decompressed module")
	}
	if _, ok := files[dir+"kernel/broken.ko"]; ok {
		t.Error("a module that nobody asked for is in the archive")
	}
	checkIndex(t, strings.TrimPrefix(files[dir+"modules.dep"], "-rw-r--r-- "), strings.TrimPrefix(files[dir+"modules.alias"], "-rw-r--r-- "))
}

// checkIndex reads the files as init does.
func checkIndex(t *testing.T, dep, alias string) {
	t.Helper()
	x, err := modules.Parse(dep, alias)
	if err != nil {
		t.Fatal(err)
	}
	for modalias, want := range map[string][]modules.Module{
		"virtio:d00000001v00001AF4": {{Name: "virtio", File: "kernel/virtio.ko"}, {Name: "net_failover", File: "kernel/net/net_failover.ko"}, {Name: "virtio_net", File: "kernel/virtio-net.ko"}},
		"virtio:d00000002v00001AF4": {{Name: "virtio", File: "kernel/virtio.ko"}, {Name: "virtio_blk", File: "kernel/virtio_blk.ko"}},
		"fs-squashfs":               {{Name: "squashfs", File: "kernel/squashfs.ko"}},
	} {
		names := x.Match(modalias)
		if len(names) != 1 {
			t.Errorf("%s matches %v", modalias, names)
			continue
		}
		got, err := x.LoadOrder(names[0])
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", modalias, err, d)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	init, tree := staticProgram(t), moduleTree(t)
	empty := t.TempDir()
	for reason, c := range map[string]Config{
		"no such file":                       {Init: "/no/such/init"},
		"needs shared libraries":             {Init: dynamicProgram(t)},
		"bad magic number":                   {Init: filepath.Join(tree, "modules.builtin")},
		"give the directory lib/modules":     {Init: init, Modules: empty},
		"no such file or directory":          {Init: init, Modules: empty + "/none"},
		"missing, which broken needs, is no": {Init: init, Modules: tree, Names: []string{"broken"}},
		"nowhere is not in":                  {Init: init, Modules: tree, Names: []string{"nowhere"}},
	} {
		if err := Write(io.Discard, c); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v; want %q", err, reason)
		}
	}
	if err := Write(io.Discard, Config{Init: init, Modules: tree, Names: []string{"virtio_ring", "virtio-net"}}); err != nil {
		t.Errorf("built-in and dashed names: %v", err)
	}
}

// dynamicProgram is a program of the machine's that needs shared libraries.
func dynamicProgram(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("dpkg")
	if err != nil {
		path = "/bin/ls"
	}
	return path
}
