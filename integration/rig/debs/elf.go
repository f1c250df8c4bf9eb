package debs

import (
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Where a bookworm program's libraries are put, and its loader.
const (
	libDir = "usr/lib/x86_64-linux-gnu"
	loader = "usr/lib64/ld-linux-x86-64.so.2"
)

// searchDirs is the loader's search path below an unpacked tree, which has not
// merged /lib into /usr/lib yet.
var searchDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"}

// A picker copies programs with all that they need from an unpacked tree of
// packages into another, in which /bin, /sbin, /lib and /lib64 are those of /usr
// and every library is in one folder.
type picker struct {
	from, to string
	have     map[string]bool // libraries copied, by the name that they are needed by
}

// program copies the program at path (in the tree, "/sbin/mke2fs"), its loader
// and its libraries.
func (p *picker) program(path string) error {
	dst := path
	if !strings.HasPrefix(dst, "/usr/") {
		dst = "/usr" + dst
	}
	needed, interp, err := p.copyELF(path, dst)
	if err != nil {
		return err
	}
	if interp != "" {
		if err := p.copyFile(interp, "/"+loader); err != nil {
			return err
		}
	}
	return p.libraries(path, needed)
}

// libraries copies libraries, and the libraries that they need.
func (p *picker) libraries(by string, needed []string) error {
	for _, name := range needed {
		if p.have[name] {
			continue
		}
		p.have[name] = true
		path, ok := p.find(name)
		if !ok {
			return fmt.Errorf("%s needs %s, which no package has", by, name)
		}
		more, _, err := p.copyELF(path, "/"+libDir+"/"+name)
		if err != nil {
			return err
		}
		if err := p.libraries(path, more); err != nil {
			return err
		}
	}
	return nil
}

// find looks for a library where the loader would, and then, for those that name
// a folder of their own in DT_RUNPATH, one folder deeper.
func (p *picker) find(name string) (string, bool) {
	if name == filepath.Base(loader) {
		return "/lib64/" + name, true
	}
	for _, deeper := range []string{"", "*"} {
		for _, dir := range searchDirs {
			found, _ := filepath.Glob(filepath.Join(p.from, dir, deeper, name))
			if len(found) > 0 {
				return strings.TrimPrefix(found[0], p.from), true
			}
		}
	}
	return "", false
}

// copyELF copies an ELF file and tells what it needs.
func (p *picker) copyELF(src, dst string) (needed []string, interp string, err error) {
	real, err := resolve(p.from, src)
	if err != nil {
		return nil, "", err
	}
	f, err := elf.Open(real)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", src, err)
	}
	defer f.Close()
	if needed, err = f.ImportedLibraries(); err != nil {
		return nil, "", fmt.Errorf("%s: %w", src, err)
	}
	if i := slices.IndexFunc(f.Progs, func(h *elf.Prog) bool { return h.Type == elf.PT_INTERP }); i >= 0 {
		text, err := io.ReadAll(io.LimitReader(f.Progs[i].Open(), 4096))
		if err != nil {
			return nil, "", fmt.Errorf("%s: interpreter: %w", src, err)
		}
		interp = strings.TrimRight(string(text), "\x00")
	}
	return needed, interp, p.copyFile(src, dst)
}

// copyFile copies a file, following symbolic links as they would be followed
// with the tree as root.
func (p *picker) copyFile(src, dst string) error {
	real, err := resolve(p.from, src)
	if err != nil {
		return err
	}
	in, err := os.Open(real)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	name := filepath.Join(p.to, dst)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copy %s: %w", src, err)
	}
	return out.Close()
}

// resolve returns the host path of path in the tree at root, which symbolic
// links, absolute ones too, do not lead out of.
func resolve(root, path string) (string, error) {
	todo := strings.Split(filepath.Clean("/"+path), "/")
	done := "/"
	for links := 0; len(todo) > 0; {
		next := filepath.Join(done, todo[0])
		todo = todo[1:]
		info, err := os.Lstat(filepath.Join(root, next))
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("%s: too many symbolic links", path)
		}
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		todo = append(strings.Split(filepath.Clean(target), "/"), todo...)
	}
	return filepath.Join(root, done), nil
}
