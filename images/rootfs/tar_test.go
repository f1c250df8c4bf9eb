package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// everything is an archive with all that a root may have in it.
func everything(_ context.Context, w io.Writer) error {
	a := tar.NewWriter(w)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o2751, Uid: 12, Gid: 70000},
		{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "d/f"},
		{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o660, Gid: 6, Devmajor: 259, Devminor: 44},
		{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600},
		{Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o4755, Uid: 1, Gid: 2, Size: 1 << 20, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		{Typeflag: tar.TypeReg, Name: "ümlaut \"quoted\"\tname", Mode: 0o644, Size: 1 << 20},
		{Typeflag: tar.TypeLink, Name: "hard", Linkname: "d/f"},
	} {
		if err := a.WriteHeader(h); err != nil {
			return err
		}
		if h.Size > 0 {
			if _, err := a.Write([]byte(strings.Repeat("x", 1000) + strings.Repeat("\x00", int(h.Size)-1000))); err != nil {
				return err
			}
		}
	}
	return a.Close()
}

func TestMakeFromTar(t *testing.T) {
	need(t, "mksquashfs", "squashfs-tools")
	dir := t.TempDir()
	out := filepath.Join(dir, "root.squashfs")
	if err := MakeFromTar(t.Context(), out, Archive{Write: everything, Mode: 0o711, Newest: time.Unix(1e9, 0)}); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("unsquashfs", "-lln", out).CombinedOutput()
	if err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, text)
	}
	for _, want := range []string{
		"drwx--x--x 0/0 110 2001-09-09 ", "drwxr-s--x 12/70000 ", "lrwxrwxrwx 0/0 ", "crw-rw-rw- 0/0 1, 3 ", "brw-rw---- 0/6 259, 44 ", "prw------- 0/0 ",
		"-rwsr-xr-x 1/2 1048576 ", "squashfs-root/ümlaut \"quoted\"\tname",
	} {
		if !strings.Contains(squeeze(string(text)), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if os.Getuid() != 0 {
		return // what is left to look at takes rights to unpack
	}
	tree := filepath.Join(dir, "tree")
	if text, err := exec.Command("unsquashfs", "-q", "-n", "-d", tree, out).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, text)
	}
	a, aerr := os.Stat(tree + "/d/f")
	b, berr := os.Stat(tree + "/hard")
	if aerr != nil || berr != nil || !os.SameFile(a, b) {
		t.Errorf("the hard link is none (%v, %v)", aerr, berr)
	}
	checkXattrs(t, out)
}

// squeeze makes one space of several.
func squeeze(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

// checkXattrs looks at the extended attributes in the image, by a tool that
// needs no file system with them.
func checkXattrs(t *testing.T, image string) {
	t.Helper()
	text, err := exec.Command("unsquashfs", "-stat", image).CombinedOutput()
	if err != nil || strings.Contains(string(text), "Number of xattr ids 0") {
		t.Errorf("%v: no extended attributes:\n%s", err, text)
	}
}

func TestMakeFromTarIsReproducible(t *testing.T) {
	need(t, "mksquashfs", "squashfs-tools")
	dir := t.TempDir()
	var images [2][]byte
	for i := range images {
		out := filepath.Join(dir, "image")
		if err := MakeFromTar(t.Context(), out, Archive{Write: everything, Mode: 0o755, Newest: time.Unix(1e9, 0)}); err != nil {
			t.Fatal(err)
		}
		var err error
		if images[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if string(images[0]) != string(images[1]) {
		t.Error("two images of one archive differ")
	}
}

// Half an archive makes no image, and neither does one that mksquashfs refuses.
func TestMakeFromTarFails(t *testing.T) {
	need(t, "mksquashfs", "squashfs-tools")
	dir := t.TempDir()
	broken := errors.New("broken on the way")
	half := func(ctx context.Context, w io.Writer) error {
		a := tar.NewWriter(w)
		return errors.Join(a.WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: 100}), broken)
	}
	if err := MakeFromTar(t.Context(), dir+"/half", Archive{Write: half, Mode: 0o755}); !errors.Is(err, broken) {
		t.Errorf("half an archive: %v", err)
	}
	rubbish := func(_ context.Context, w io.Writer) error {
		_, err := w.Write([]byte(strings.Repeat("rubbish ", 1<<17)))
		return err
	}
	if err := MakeFromTar(t.Context(), dir+"/rubbish", Archive{Write: rubbish, Mode: 0o755}); err == nil || !strings.Contains(err.Error(), "mksquashfs") {
		t.Errorf("rubbish: %v", err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, _ := filepath.Glob(dir + "/.*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
