package initramfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
)

// entry is what an archive has of a file.
type entry struct {
	Name, Text string
	Mode       cpio.FileMode
}

// read lists an archive, and checks that nothing comes before its folder.
func read(t *testing.T, archive []byte) []entry {
	t.Helper()
	var out []entry
	dirs := map[string]bool{".": true}
	for r := cpio.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode&^cpio.ModePerm == cpio.TypeSymlink {
			text = []byte(h.Linkname)
		}
		if !dirs[filepath.Dir(h.Name)] {
			t.Errorf("%s comes before its folder", h.Name)
		}
		if h.Mode.IsDir() {
			dirs[h.Name] = true
		}
		out = append(out, entry{h.Name, string(text), h.Mode})
	}
}

func TestBuilder(t *testing.T) {
	host := t.TempDir()
	if err := os.MkdirAll(filepath.Join(host, "d/sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "d/sub/f"), []byte("odd"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub/f", filepath.Join(host, "d/link")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b := New(&out)
	b.Text("/init", 0o755, "#!/bin/sh\n")
	b.Host("/data", filepath.Join(host, "d"))
	b.Host("/one/two/f", filepath.Join(host, "d/link"))
	b.Symlink("bin/sh", "busybox")
	b.Dir("/empty", 0o700)
	b.Dir("/empty", 0o700)
	b.Text("/nothing", 0o644, "")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"init", "#!/bin/sh\n", cpio.TypeReg | 0o755},
		{"data", "", cpio.TypeDir | 0o750},
		{"data/link", "sub/f", cpio.TypeSymlink | 0o777},
		{"data/sub", "", cpio.TypeDir | 0o750},
		{"data/sub/f", "odd", cpio.TypeReg | 0o640},
		{"one", "", cpio.TypeDir | 0o755},
		{"one/two", "", cpio.TypeDir | 0o755},
		{"one/two/f", "odd", cpio.TypeReg | 0o640},
		{"bin", "", cpio.TypeDir | 0o755},
		{"bin/sh", "busybox", cpio.TypeSymlink | 0o777},
		{"empty", "", cpio.TypeDir | 0o700},
		{"nothing", "", cpio.TypeReg | 0o644},
	}
	if diff := cmp.Diff(want, read(t, out.Bytes())); diff != "" {
		t.Error(diff)
	}
}

func TestBuilderStaysInside(t *testing.T) {
	var out bytes.Buffer
	b := New(&out)
	b.Text("../../etc/passwd", 0o644, "x")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, out.Bytes()); len(got) != 2 || got[1].Name != "etc/passwd" {
		t.Errorf("%+v", got)
	}
}

func TestBuilderErrors(t *testing.T) {
	tests := map[string]func(b *Builder) error{
		"gone":       func(b *Builder) error { return b.Host("/x", "/nothing/here") },
		"twice":      func(b *Builder) error { return errors.Join(b.Text("/x", 0o644, "1"), b.Text("//x/", 0o644, "2")) },
		"short":      func(b *Builder) error { return b.File("/x", 0o644, 10, strings.NewReader("short")) },
		"device":     func(b *Builder) error { return b.Host("/x", "/dev/pts") },
		"too large":  func(b *Builder) error { return b.File("/x", 0o644, 1<<32, strings.NewReader("")) },
		"link twice": func(b *Builder) error { return errors.Join(b.Symlink("/x", "1"), b.Symlink("/x", "2")) },
	}
	for name, add := range tests {
		b := New(io.Discard)
		if err := add(b); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := b.Close(); err == nil {
			t.Errorf("%s: the error is lost at Close", name)
		}
	}
}

const (
	testDep = `kernel/arch/x86/kvm/kvm-amd.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz kernel/virt/lib/irqbypass.ko.xz
kernel/arch/x86/kvm/kvm.ko.xz: kernel/virt/lib/irqbypass.ko.xz
kernel/virt/lib/irqbypass.ko.xz:
kernel/drivers/net/tun.ko:
kernel/a.ko.zst: kernel/b.ko
kernel/b.ko: kernel/a.ko.zst
kernel/broken.ko: kernel/gone.ko
`
	testBuiltin = "kernel/fs/ext4/ext4.ko\nkernel/drivers/char/virtio_console.ko\n"
)

func TestOrder(t *testing.T) {
	g, err := readGraph(strings.NewReader(testDep), strings.NewReader(testBuiltin))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		names []string
		want  []string
	}{
		{nil, nil},
		{[]string{"ext4", "virtio-console"}, nil},
		{[]string{"tun"}, []string{"kernel/drivers/net/tun.ko"}},
		{[]string{"kvm_amd", "irqbypass", "kvm-amd", "tun"}, []string{
			"kernel/virt/lib/irqbypass.ko.xz", "kernel/arch/x86/kvm/kvm.ko.xz", "kernel/arch/x86/kvm/kvm-amd.ko.xz", "kernel/drivers/net/tun.ko"}},
		{[]string{"a"}, []string{"kernel/b.ko", "kernel/a.ko.zst"}},
	}
	for _, test := range tests {
		got, err := g.Order(test.names...)
		if err != nil {
			t.Errorf("%v: %v", test.names, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v: %s", test.names, diff)
		}
	}
	for _, name := range []string{"nothing", "broken"} {
		if got, err := g.Order(name); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
	if _, err := readGraph(strings.NewReader("no colon\n"), strings.NewReader("")); err == nil {
		t.Error("a line without a colon: no error")
	}
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": "kernel/top.ko: kernel/low-er.ko.xz\nkernel/low-er.ko.xz:\n", "modules.builtin": "", "kernel/top.ko": "top",
		// xz of "low" as xz(1) makes it
		"kernel/low-er.ko.xz": "\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x02\x6c\x6f\x77\x00\x00\x3c\x64\x0d\xd3\xf7\xa7\x86\x06\x00\x01\x1b\x03\x0b\x2f\xb9\x10\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g, err := OpenGraph(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b := New(&out)
	b.Modules("/mods", g, "top")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"mods", "", cpio.TypeDir | 0o755},
		{"mods/00-low_er.ko", "low", cpio.TypeReg | 0o644},
		{"mods/01-top.ko", "top", cpio.TypeReg | 0o644},
	}
	if diff := cmp.Diff(want, read(t, out.Bytes())); diff != "" {
		t.Error(diff)
	}
}
