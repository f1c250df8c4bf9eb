package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"splitvm/images/layer"
)

func testStore(t *testing.T) *Store {
	t.Helper()
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		t.Skip("needs mksquashfs: apt-get install squashfs-tools")
	}
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// oneFile is an archive with one file.
func oneFile(t *testing.T, text string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Size: int64(len(text)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// add adds an image of layers with one file each.
func add(t *testing.T, s *Store, name, id string, texts ...string) Image {
	t.Helper()
	adding, err := s.Adding(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer adding.Close()
	i := Image{ID: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(id, 64)}, Added: time.Unix(1, 0)}
	for _, text := range texts {
		l, err := s.AddLayer(t.Context(), oneFile(t, text), v1.Hash{})
		if err != nil {
			t.Fatal(err)
		}
		i.Layers = append(i.Layers, l)
	}
	if err := s.MakeRoot(t.Context(), &i, layer.Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), name, i); err != nil {
		t.Fatal(err)
	}
	return i
}

// count counts what a store has in a folder.
func count(t *testing.T, s *Store, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(s.path(folder))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Images share layers and roots, and each goes when its last user has gone.
func TestSharing(t *testing.T) {
	s := testStore(t)
	add(t, s, "a:1", "a", "base", "one")
	add(t, s, "b:1", "b", "base", "two")
	add(t, s, "c/d:1", "c", "base", "two") // another configuration of the same files
	add(t, s, "b:2", "b", "base", "two")
	if l, r, i := count(t, s, "layers"), count(t, s, "roots"), count(t, s, "images"); l != 3 || r != 2 || i != 3 {
		t.Errorf("%d layers, %d roots, %d images", l, r, i)
	}
	for _, step := range []struct {
		remove                string
		layers, roots, images int
	}{{"b:1", 3, 2, 3}, {"c/d:1", 3, 2, 2}, {"aaaaaa", 2, 1, 1}, {"b:2", 0, 0, 0}} {
		if err := s.Remove(t.Context(), step.remove); err != nil {
			t.Fatal(err)
		}
		if l, r, i := count(t, s, "layers"), count(t, s, "roots"), count(t, s, "images"); l != step.layers || r != step.roots || i != step.images {
			t.Errorf("after the removal of %s: %d layers, %d roots, %d images", step.remove, l, r, i)
		}
	}
	if err := s.Remove(t.Context(), "b:2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("once more: %v", err)
	}
}

func TestFind(t *testing.T) {
	s := testStore(t)
	add(t, s, "a:1", "a", "x")
	add(t, s, "b:1", "b", "y")
	for name, want := range map[string]string{"a:1": "a", "bbbbbbb": "b", "sha256:aaaaaa": "a"} {
		if i, err := s.Find(name); err != nil || i.ID.Hex[:1] != want {
			t.Errorf("%s: %v, %v", name, i.ID, err)
		}
	}
	for _, name := range []string{"c:1", "aaa", ""} {
		if _, err := s.Find(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || !slices.Equal(list[0].Names, []string{"a:1"}) {
		t.Errorf("the list is %+v, %v", list, err)
	}
}

// An image that a guest runs on stays whole, and so does a root that was given
// another name's image.
func TestInUse(t *testing.T) {
	s := testStore(t)
	i := add(t, s, "a:1", "a", "x")
	use, err := s.Use(i)
	if err != nil {
		t.Fatal(err)
	}
	defer use.Close()
	if err := s.Remove(t.Context(), "a:1"); !errors.Is(err, ErrInUse) {
		t.Errorf("%v; want %v", err, ErrInUse)
	}
	if found, err := s.Find("a:1"); err != nil || found.Root != i.Root {
		t.Errorf("it lost its name: %v", err)
	}
	add(t, s, "a:1", "b", "y") // the name goes to another image
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.RootPath(i)); err != nil {
		t.Errorf("the root of a running guest is gone: %v", err)
	}
	use.Close()
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.RootPath(i)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root stays after the guest: %v", err)
	}
}

// Nothing is swept away while an image is being added.
func TestSweepWaits(t *testing.T) {
	s := testStore(t)
	adding, err := s.Adding(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddLayer(t.Context(), oneFile(t, "x"), v1.Hash{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context()); err != nil || count(t, s, "layers") != 1 {
		t.Errorf("%d layers, %v", count(t, s, "layers"), err)
	}
	adding.Close()
	if err := s.Sweep(t.Context()); err != nil || count(t, s, "layers") != 0 {
		t.Errorf("%d layers after, %v", count(t, s, "layers"), err)
	}
}

func TestAddLayerChecks(t *testing.T) {
	s := testStore(t)
	_, err := s.AddLayer(t.Context(), oneFile(t, "x"), v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)})
	if !errors.Is(err, ErrDigest) || count(t, s, "layers")+count(t, s, "tmp") != 0 {
		t.Errorf("%v; %d layers", err, count(t, s, "layers"))
	}
}

// A layer that the disk has changed is found when a root is made of it.
func TestSpoiltLayer(t *testing.T) {
	s := testStore(t)
	l, err := s.AddLayer(t.Context(), oneFile(t, "text"), v1.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := io.ReadAll(oneFile(t, "tent"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(s.layerPath(l)), os.WriteFile(s.layerPath(l), other, 0o444)); err != nil {
		t.Fatal(err)
	}
	i := Image{Layers: []v1.Hash{l}}
	if err := s.MakeRoot(t.Context(), &i, layer.Limits{}); !errors.Is(err, ErrDigest) {
		t.Errorf("%v; want %v", err, ErrDigest)
	}
	if count(t, s, "roots")+count(t, s, "tmp") != 0 {
		t.Error("a root of it is there")
	}
}

func TestDigestsCantLeaveTheStore(t *testing.T) {
	s := testStore(t)
	evil := v1.Hash{Algorithm: "sha256", Hex: "../../../etc/passwd"}
	if err := s.Fetch(t.Context(), Blob{Digest: evil, DiffID: evil}, nil); err == nil {
		t.Error("a layer with a path as its digest was fetched")
	}
}

func TestOpenRefusesOtherFormats(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/format", []byte("99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "99") {
		t.Error(err)
	}
}

func TestKernels(t *testing.T) {
	s := testStore(t)
	if _, err := s.Kernel(""); !errors.Is(err, ErrNoKernel) {
		t.Errorf("an empty store has a kernel: %v", err)
	}
	boot := t.TempDir()
	for _, f := range []string{"boot/vmlinuz-1", "lib/modules/1/a.ko", "boot/vmlinuz-2", "lib/modules/2/a.ko"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(boot, f)), 0o755), os.WriteFile(filepath.Join(boot, f), []byte(f), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"1", "2", "1"} {
		if _, err := s.AddKernel(t.Context(), "", boot+"/boot/vmlinuz-"+n, "", false); err != nil {
			t.Fatal(err)
		}
	}
	if k, err := s.Kernel(""); err != nil || k.Name != "1" || !k.Default || filepath.Base(k.Modules) != "1" {
		t.Errorf("the default is %+v, %v", k, err)
	}
	if err := s.SetDefaultKernel("2"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Kernels()
	if err != nil || len(list) != 2 || list[0].Default || !list[1].Default {
		t.Errorf("%+v, %v", list, err)
	}
	if err := s.RemoveKernel(t.Context(), "2"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"2", "", "../images"} {
		if _, err := s.Kernel(name); !errors.Is(err, ErrNoKernel) {
			t.Errorf("%q: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.AddKernel(ctx, "", boot+"/boot", "", false); err == nil || count(t, s, "tmp") != 0 {
		t.Errorf("one that is given up: %v, and %d folders are left", err, count(t, s, "tmp"))
	}
}
