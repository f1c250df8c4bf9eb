package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/init/superblock"
)

// need skips a test that has no such program.
func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := find(program); err != nil {
		t.Skipf("needs %s: apt-get install %s", program, pkg)
	}
}

func testImage(t *testing.T) Image {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"script": 0o755 | fs.ModeSetuid, "kept": 0o640, "replaced": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return Image{Dir: dir, Label: "test-root", Free: 5 << 20, Files: []File{
		{Path: "/replaced", Mode: 0o600, Data: []byte("new\n")},
		{Path: "/a/b/c", Mode: 0o644, From: filepath.Join(dir, "kept")},
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "/a/up", Mode: fs.ModeSymlink, Data: []byte("../..")},
	}}
}

// The files of testImage as `ls -l` shows their modes, with what is in them.
var testFiles = map[string]string{
	"script": "urwxr-xr-x script\n", "kept": "-rw-r----- kept\n", "replaced": "-rw------- new\n", "link": "Lrwxrwxrwx /etc/passwd",
	"a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/c": "-rw-r--r-- kept\n", "a/up": "Lrwxrwxrwx ../..", "tmp": "dtrwxrwxrwx",
}

func TestStage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	if err := stage(dir, testImage(t)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testFiles, listing(t, dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		files[rel] = info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			files[rel] += " " + string(data)
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			files[rel] += " " + target
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestStageStaysInItsTree(t *testing.T) {
	outside := t.TempDir()
	for name, files := range map[string][]File{
		"dots": {{Path: "/../../x", Mode: 0o644, Data: []byte("x")}},
		"link": {{Path: "/out", Mode: fs.ModeSymlink, Data: []byte(outside)}, {Path: "/out/x", Mode: 0o644}},
	} {
		dir := filepath.Join(t.TempDir(), "tree")
		err := stage(dir, Image{Files: files})
		if entries, rerr := os.ReadDir(outside); rerr != nil || len(entries) > 0 {
			t.Errorf("%s: %v got out (%v)", name, entries, rerr)
		}
		if name == "link" && err == nil {
			t.Error("a file was made through a link that leads out")
		}
	}
}

func TestExt4(t *testing.T) {
	need(t, "mke2fs", "e2fsprogs")
	need(t, "debugfs", "e2fsprogs")
	out := filepath.Join(t.TempDir(), "root.ext4")
	if err := Make(t.Context(), out, Ext4, testImage(t)); err != nil {
		t.Fatal(err)
	}
	info := detect(t, out)
	st, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if info.Type != superblock.Ext4 || info.Label != "test-root" || info.Size != uint64(st.Size()) || len(info.UUID) != 36 {
		t.Errorf("the superblock of %d bytes tells %+v", st.Size(), info)
	}
	if got := debugfs(t, out, "cat /a/b/c"); got != "kept\n" {
		t.Errorf("/a/b/c is %q", got)
	}
	if got := debugfs(t, out, "stat /script"); !strings.Contains(got, "Mode:  04755") {
		t.Errorf("/script: %s", got)
	}
	fsck, err := find("e2fsck")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := exec.CommandContext(t.Context(), fsck, "-fn", out).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, text)
	}
	if left, _ := filepath.Glob(filepath.Dir(out) + "/.rootfs.*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func debugfs(t *testing.T, image, request string) string {
	t.Helper()
	path, err := find("debugfs")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "-R", request, image).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func detect(t *testing.T, image string) superblock.Info {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	info, ok := superblock.Detect(data[:min(len(data), superblock.HeaderLen)])
	if !ok {
		t.Fatalf("%s: no file system", image)
	}
	return info
}

func TestSquashfs(t *testing.T) {
	need(t, "mksquashfs", "squashfs-tools")
	dir := t.TempDir()
	out := filepath.Join(dir, "root.squashfs")
	if err := Make(t.Context(), out, Squashfs, testImage(t)); err != nil {
		t.Fatal(err)
	}
	if info := detect(t, out); info.Type != superblock.Squashfs || info.Size == 0 {
		t.Errorf("the superblock tells %+v", info)
	}
	tree := filepath.Join(dir, "tree")
	if text, err := exec.CommandContext(t.Context(), "unsquashfs", "-q", "-n", "-d", tree, out).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, text)
	}
	if d := cmp.Diff(testFiles, listing(t, tree)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMakeRefuses(t *testing.T) {
	dir := t.TempDir()
	for reason, err := range map[string]error{
		"unknown type":      Make(t.Context(), dir+"/x", "ntfs", Image{}),
		"more than 16":      Make(t.Context(), dir+"/x", Ext4, Image{Label: strings.Repeat("l", 17)}),
		"no such file":      Make(t.Context(), dir+"/x", Ext4, Image{Dir: dir + "/none"}),
		"neither a file":    Make(t.Context(), dir+"/x", Ext4, Image{Dir: "/dev/shm/../pts"}),
		"no path of a file": Make(t.Context(), dir+"/x", Ext4, Image{Files: []File{{Path: "/"}}}),
	} {
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v; want %q", err, reason)
		}
	}
	t.Setenv("PATH", dir)
	if err := run(t.Context(), "mksomething", "some-package"); !errors.Is(err, ErrNoTool) || !strings.Contains(err.Error(), "apt-get install some-package") {
		t.Errorf("a missing program: %v", err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBusybox(t *testing.T) {
	path, err := FindBusybox()
	if errors.Is(err, ErrNoTool) {
		t.Skip(err)
	}
	files, err := Busybox(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range files {
		have[f.Path] = true
	}
	for _, want := range []string{"/bin/busybox", "/bin/sh", "/proc", "/dev", "/tmp", "/etc/passwd"} {
		if !have[want] {
			t.Errorf("%s is missing", want)
		}
	}
}
