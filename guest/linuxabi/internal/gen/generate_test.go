package main

import (
	"bytes"
	"os"
	"testing"
)

// The committed table is what the generator writes: a new gVisor or x/sys can't
// slip in without it.
func TestTableIsUpToDate(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("table_gen.go is not what the generator writes: run `go generate ./guest/linuxabi` and look at what changed")
	}
}
