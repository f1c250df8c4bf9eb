// Package structure holds the tests of the source tree itself: which package
// may import which, and where unsafe code may be.
package structure

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pkg is what `go list -json` tells of a package.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "splitvm/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// may lists, for a tree of ours, the trees of ours that it may import besides
// itself. The longest name counts.
var may = map[string][]string{
	"guest":              {},
	"guest/init":         {"guest"},
	"remote":             {},
	"ept":                {"remote"},
	"vmm":                {"guest", "remote"},
	"images":             {"guest"},
	"monitors/memory":    {"remote"},
	"monitors/storage":   {"remote"},
	"monitors/network":   {"remote"},
	"monitors/global":    {"remote"},
	"monitors/processor": {"remote", "ept"},
	"cmd":                {"guest", "remote", "ept", "vmm", "images", "monitors", "integration"},
	"integration":        {"guest", "remote", "ept", "vmm", "images", "monitors", "cmd"},
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, "splitvm/")
		tree := treeOf(from)
		if tree == "" {
			t.Errorf("package %s is in no known tree", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, "splitvm/")
			if ours && !allowed(tree, to) {
				t.Errorf("%s imports %s: %s may import only itself and %v", from, to, tree, may[tree])
			}
		}
	}
}

func treeOf(path string) string {
	for p := path; p != "."; p = filepath.Dir(p) {
		if _, ok := may[p]; ok {
			return p
		}
	}
	return ""
}

func allowed(tree, to string) bool {
	for _, root := range append([]string{tree}, may[tree]...) {
		if to == root || strings.HasPrefix(to, root+"/") {
			return true
		}
	}
	return false
}

// gokvm's whole-machine packages and gVisor's Sentry stay out.
func TestOutsideImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if leaf, ok := strings.CutPrefix(imp, "github.com/bobuhiro11/gokvm/"); ok && (leaf == "machine" || leaf == "virtio" || leaf == "vmm") {
				t.Errorf("%s imports gokvm's %s", p.ImportPath, leaf)
			}
			if strings.HasPrefix(imp, "gvisor.dev/gvisor/pkg/sentry") && !strings.HasPrefix(p.ImportPath, "splitvm/guest/linuxabi") {
				t.Errorf("%s imports %s: the Sentry is for one leaf only", p.ImportPath, imp)
			}
		}
	}
}

func TestUnsafeIsNamed(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			if strings.HasSuffix(name, "_unsafe.go") || strings.HasSuffix(name, ".pb.go") {
				continue
			}
			if importsUnsafe(t, filepath.Join(p.Dir, name)) {
				t.Errorf("%s/%s imports unsafe: only *_unsafe.go may", p.ImportPath, name)
			}
		}
	}
}
