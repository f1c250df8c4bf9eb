package boot

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"splitvm/guest/layout"
	"splitvm/integration/require"
)

// debianKernels finds the kernels that the nested rig fetched: directories with
// a vmlinuz and the vmlinux that was taken out of it by other means.
func debianKernels(t testing.TB) []string {
	t.Helper()
	const remedy = "needs Debian's kernels in the rig's cache: run `make rig` once"
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(remedy)
	}
	dirs, err := filepath.Glob(filepath.Join(cache, "splitvm", "store", "linux-*"))
	if err != nil || len(dirs) == 0 {
		if require.Required("rig") {
			t.Fatal(remedy)
		}
		t.Skip(remedy)
	}
	return dirs
}

// loadFile plans and places a kernel in a file.
func loadFile(t testing.TB, path string, m layout.Map, dst Memory) *Plan {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Load(f, st.Size(), Params{Memory: m, Cmdline: "quiet"})
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Place(dst); err != nil {
		t.Fatal(err)
	}
	return plan
}

// Debian's kernels come into RAM as their ELF files say, from the bzImage and
// from the vmlinux.
func TestDebianKernels(t *testing.T) {
	for _, dir := range debianKernels(t) {
		want, err := elf.Open(filepath.Join(dir, "vmlinux"))
		if err != nil {
			t.Fatal(err)
		}
		defer want.Close()
		for file, mode := range map[string]Mode{"vmlinuz": ModeLinux64, "vmlinux": ModePVH} {
			t.Run(filepath.Base(dir)+"/"+file, func(t *testing.T) {
				m := testMap(t, 256<<20)
				mem := &ram{bytes: make([]byte, m.Size())}
				plan := loadFile(t, filepath.Join(dir, file), m, mem)
				if e := plan.Entries[0]; e.Mode != mode || mode == ModeLinux64 && e.RIP != want.Entry {
					t.Errorf("%s: entry %v at %#x, ELF entry %#x", plan.Kind, e.Mode, e.RIP, want.Entry)
				}
				for _, p := range want.Progs {
					if p.Type != elf.PT_LOAD {
						continue
					}
					data := make([]byte, p.Filesz)
					if _, err := p.ReadAt(data, 0); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(mem.bytes[p.Paddr:p.Paddr+p.Filesz], data) {
						t.Errorf("part at %#x differs", p.Paddr)
					}
				}
				t.Logf("%s in %d writes", plan.Kind, mem.writes)
			})
		}
	}
}

// What planning and placing a kernel costs without RAM to write to: mostly
// decompression.
func BenchmarkDebianKernels(b *testing.B) {
	for _, dir := range debianKernels(b) {
		for _, file := range []string{"vmlinuz", "vmlinux"} {
			b.Run(filepath.Base(dir)+"/"+file, func(b *testing.B) {
				m := testMap(b, 256<<20)
				for b.Loop() {
					loadFile(b, filepath.Join(dir, file), m, bounds{b, m})
				}
			})
		}
	}
}
