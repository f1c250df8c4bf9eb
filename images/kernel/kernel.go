package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Places in a folder that Unpack fills.
const (
	kernelFile = "vmlinuz"
	modulesDir = "lib/modules"
)

// Kernel is a kernel in a folder.
type Kernel struct {
	Release string `json:"release"` // as uname -r has it; empty if nothing tells
	File    string `json:"file"`    // the path of bzImage or vmlinux
	Modules string `json:"modules"` // of the folder lib/modules/RELEASE; empty without modules
}

// Unpack fills the empty folder dir with the kernel at path: a .deb, a file
// whose modules are in the folder modules ("" for those that belong to it, if they are
// here), or a folder such as /boot, of whose kernels it takes the running one or else the
// newest.
func Unpack(ctx context.Context, dir, from, modules string) (Kernel, error) {
	k, err := unpack(ctx, dir, from, modules)
	if err != nil {
		return k, fmt.Errorf("kernel %s: %w", from, err)
	}
	return k, nil
}

func unpack(ctx context.Context, dir, from, modules string) (Kernel, error) {
	info, err := os.Stat(from)
	if err != nil {
		return Kernel{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Kernel{}, err
	}
	defer root.Close()
	if info.IsDir() {
		if from, err = choose(from); err != nil {
			return Kernel{}, err
		}
	}
	f, err := os.Open(from)
	if err != nil {
		return Kernel{}, err
	}
	defer f.Close()
	if strings.HasSuffix(from, ".deb") {
		err = unpackDeb(ctx, f, root)
	} else {
		err = errors.Join(put(root, kernelFile, f), copyModules(ctx, root, from, modules))
	}
	if err != nil {
		return Kernel{}, err
	}
	return Open(dir)
}

// Open tells of the kernel in a folder that Unpack filled.
func Open(dir string) (Kernel, error) {
	k := Kernel{File: filepath.Join(dir, kernelFile)}
	if _, err := os.Stat(k.File); err != nil {
		return k, errors.New("there is no kernel in it: give a package linux-image-*, not one of headers or of modules alone")
	}
	found, err := filepath.Glob(filepath.Join(dir, modulesDir, "*"))
	if err != nil {
		return k, err
	}
	switch len(found) {
	case 0:
		k.Release, err = imageRelease(k.File)
	case 1:
		k.Modules, k.Release = found[0], filepath.Base(found[0])
	default:
		err = fmt.Errorf("it has modules for %d kernels", len(found))
	}
	return k, err
}

// choose picks a kernel of a folder.
func choose(dir string) (string, error) {
	list, err := filepath.Glob(filepath.Join(dir, "vmlinuz-*"))
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", errors.New("no vmlinuz-* is in it")
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		running := filepath.Join(dir, "vmlinuz-"+unix.ByteSliceToString(uts.Release[:]))
		if slices.Contains(list, running) {
			return running, nil
		}
	}
	slices.SortFunc(list, compareVersions)
	return list[len(list)-1], nil
}

// compareVersions compares runs of digits as numbers: 6.12 is later than 6.2.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if c := len(x) - len(y); c != 0 {
				return c
			}
			if c := strings.Compare(x, y); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// copyModules copies the folder of modules, by default the one that belongs to
// the kernel file by their names: /lib/modules beside /boot.
func copyModules(ctx context.Context, root *os.Root, kernel, modules string) error {
	if modules == "" {
		_, release, ok := strings.Cut(filepath.Base(kernel), "-")
		modules = filepath.Join(filepath.Dir(kernel), "..", modulesDir, release)
		if _, err := os.Stat(modules); !ok || err != nil {
			return nil // a kernel that has all it needs built in, the caller may think
		}
	}
	modules, err := filepath.Abs(modules)
	if err != nil {
		return err
	}
	to := path.Join(modulesDir, filepath.Base(modules))
	return filepath.WalkDir(modules, func(p string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || !d.Type().IsRegular() || !isNeeded(d.Name()) {
			return err
		}
		rel, err := filepath.Rel(modules, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return put(root, path.Join(to, filepath.ToSlash(rel)), f)
	})
}

// imageRelease reads the release that a bzImage tells of itself
// (Documentation/arch/x86/boot.rst, kernel_version); empty where there is none.
func imageRelease(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 64<<10) // the version is in the setup code, of up to 64 sectors
	n, err := f.ReadAt(head, 0)
	if n < 0x210 {
		return "", fmt.Errorf("it is no kernel: %d bytes (%w)", n, err)
	}
	head = head[:n]
	at := 0x200 + int(head[0x20E]) + int(head[0x20F])<<8
	if string(head[0x202:0x206]) != "HdrS" || at == 0x200 || at >= n {
		return "", nil
	}
	text, _, _ := bytes.Cut(head[at:min(n, at+128)], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	return release, nil
}
