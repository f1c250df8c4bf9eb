package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The committed Go is what the committed *.proto files generate, no more and
// no less.
func TestGeneratedIsCurrent(t *testing.T) {
	const dir = "../.."
	want, err := generate(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	have, err := filepath.Glob(filepath.Join(dir, "*.pb.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range have {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		if expected, ok := want[name]; !ok || expected != string(text) {
			t.Errorf("%s is not what the *.proto files generate: run `make proto` and commit the result", name)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is missing: run `make proto` and commit the result", name)
	}
}
