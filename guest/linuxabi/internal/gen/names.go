package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// linuxNames reads the numbers and names of Linux's calls out of the constants
// of golang.org/x/sys/unix, which has no list of them otherwise.
func linuxNames() (map[uintptr]string, error) {
	pkg, err := build.Import("golang.org/x/sys/unix", ".", build.FindOnly)
	if err != nil {
		return nil, fmt.Errorf("find golang.org/x/sys/unix: %w", err)
	}
	file := filepath.Join(pkg.Dir, "zsysnum_linux_amd64.go")
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	names := map[uintptr]string{}
	ast.Inspect(tree, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			addName(names, spec)
		}
		return true
	})
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: no constants SYS_NAME = NUMBER", file)
	}
	return names, nil
}

func addName(names map[uintptr]string, spec *ast.ValueSpec) {
	if len(spec.Names) != 1 || len(spec.Values) != 1 {
		return
	}
	name, ok := strings.CutPrefix(spec.Names[0].Name, "SYS_")
	lit, isLit := spec.Values[0].(*ast.BasicLit)
	if !ok || !isLit {
		return
	}
	if n, err := strconv.ParseUint(lit.Value, 0, 16); err == nil {
		names[uintptr(n)] = strings.ToLower(name)
	}
}
