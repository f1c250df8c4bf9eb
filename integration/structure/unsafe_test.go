package structure

import (
	"go/parser"
	"go/token"
	"testing"
)

func importsUnsafe(t *testing.T, file string) bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, imp := range f.Imports {
		if imp.Path.Value == `"unsafe"` {
			return true
		}
	}
	return false
}
