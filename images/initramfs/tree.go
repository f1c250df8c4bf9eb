package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"splitvm/guest/init/modules"
)

// tree is a directory of kernel modules, lib/modules/RELEASE.
type tree struct {
	dir     string
	release string
	files   map[string]string // paths below dir, by module name
	builtin map[string]bool   // names of modules that are in the kernel itself
}

// openTree lists the modules below dir.
func openTree(dir string) (*tree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	t := &tree{dir: dir, release: filepath.Base(dir), files: map[string]string{}, builtin: map[string]bool{}}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isModule(d.Name()) {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if strings.ContainsAny(rel, " \t\n") {
			return fmt.Errorf("%q: modules.dep can't tell a path with spaces", path)
		}
		t.files[modules.Name(rel)] = filepath.ToSlash(rel)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	for file := range strings.FieldsSeq(string(list)) {
		t.builtin[modules.Name(file)] = true
	}
	if len(t.files)+len(t.builtin) == 0 {
		return nil, fmt.Errorf("kernel modules: none below %s: give the directory lib/modules/RELEASE of the kernel's package", dir)
	}
	return t, nil
}

func isModule(name string) bool {
	_, ext, ok := strings.Cut(name, ".ko")
	return ok && (ext == "" || ext == ".xz" || ext == ".gz" || ext == ".zst")
}

// closure reads the named modules and all that they need, each once and what is
// needed first. Names that the kernel has built in are left out. A name that is
// nowhere is an error, unless optional says otherwise.
func (t *tree) closure(names []string, optional bool) ([]*module, error) {
	var list []*module
	seen := map[string]bool{}
	var visit func(name, by string) error
	visit = func(name, by string) error {
		name = modules.Name(name)
		if seen[name] || t.builtin[name] {
			return nil
		}
		seen[name] = true // before what it needs: a circle ends here, and init refuses it
		rel, ok := t.files[name]
		if !ok && optional && by == "" {
			return nil
		}
		if !ok {
			return fmt.Errorf("kernel modules: %s%s is not in %s", name, by, t.dir)
		}
		m, err := readModule(filepath.Join(t.dir, rel), rel)
		if err != nil {
			return err
		}
		for _, need := range m.needs {
			if err := visit(need, ", which "+name+" needs,"); err != nil {
				return err
			}
		}
		list = append(list, m)
		return nil
	}
	for _, name := range names {
		if err := visit(name, ""); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// depmod gives the content of modules.dep and modules.alias for the modules.
func depmod(list []*module, builtin map[string]bool) (dep, alias string) {
	files := map[string]string{}
	for _, m := range list {
		files[m.name] = m.file
	}
	var deps, aliases strings.Builder
	for _, m := range list {
		deps.WriteString(m.file + ":")
		for _, need := range m.needs {
			if !builtin[need] {
				deps.WriteString(" " + files[need])
			}
		}
		deps.WriteByte('\n')
		for _, a := range m.aliases {
			fmt.Fprintf(&aliases, "alias %s %s\n", a, m.name)
		}
	}
	return deps.String(), aliases.String()
}
