package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// A Graph is what a kernel's modules depend on: a folder lib/modules/RELEASE
// with the files modules.dep and modules.builtin that depmod(8) writes.
type Graph struct {
	dir     string
	path    map[string]string   // name to path below dir
	needs   map[string][]string // name to names
	builtin map[string]bool
}

// OpenGraph reads the graph of the modules in folder dir.
func OpenGraph(dir string) (*Graph, error) {
	dep, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	defer dep.Close()
	builtin, err := os.Open(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	defer builtin.Close()
	g, err := readGraph(dep, builtin)
	if err != nil {
		return nil, fmt.Errorf("modules in %s: %w", dir, err)
	}
	g.dir = dir
	return g, nil
}

func readGraph(dep, builtin io.Reader) (*Graph, error) {
	g := &Graph{path: make(map[string]string), needs: make(map[string][]string), builtin: make(map[string]bool)}
	in := bufio.NewScanner(dep)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		path, deps, ok := strings.Cut(in.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("modules.dep: no colon in %q", in.Text())
		}
		name := moduleName(path)
		g.path[name] = path
		for _, d := range strings.Fields(deps) {
			g.needs[name] = append(g.needs[name], moduleName(d))
		}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	in = bufio.NewScanner(builtin)
	for in.Scan() {
		g.builtin[moduleName(in.Text())] = true
	}
	return g, in.Err()
}

// moduleName turns a path into a module's name; to the kernel - and _ are one.
func moduleName(path string) string {
	base, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// Order returns the paths of the named modules and of all that they need, below
// the graph's folder, in an order in which they load. Built-in ones are left out.
func (g *Graph) Order(names ...string) ([]string, error) {
	var out []string
	seen := make(map[string]bool)
	var visit func(name, by string) error
	visit = func(name, by string) error {
		name = moduleName(name)
		if seen[name] || g.builtin[name] {
			return nil
		}
		seen[name] = true // before its needs: a circle can't be loaded, but ends here
		path, ok := g.path[name]
		if !ok {
			return fmt.Errorf("no module %s%s", name, by)
		}
		for _, need := range g.needs[name] {
			if err := visit(need, ", which "+name+" needs"); err != nil {
				return err
			}
		}
		out = append(out, path)
		return nil
	}
	for _, name := range names {
		if err := visit(name, ""); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Modules adds the named modules and all that they need, uncompressed, as
// DIR/NN-NAME.ko where the numbers give the order to load them in.
func (b *Builder) Modules(dir string, g *Graph, names ...string) error {
	order, err := g.Order(names...)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("initramfs: %w", err)
	}
	for i, path := range order {
		if b.err != nil {
			break
		}
		text, err := readModule(filepath.Join(g.dir, path))
		if err != nil {
			b.err = fmt.Errorf("initramfs: module %s: %w", path, err)
			break
		}
		b.Text(fmt.Sprintf("%s/%02d-%s.ko", dir, i, moduleName(path)), 0o644, text)
	}
	return b.err
}

// readModule reads a module, which may be compressed.
func readModule(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(name) {
	case ".xz":
		r, err = xz.NewReader(bufio.NewReader(f))
	case ".zst":
		r, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		return "", err
	}
	var text strings.Builder
	_, err = io.Copy(&text, r)
	return text.String(), err
}
