package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
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

// Services, their calls, and what is not just a call's request or response, are documented:
// the *.proto files are the API's documentation.
func TestDocumented(t *testing.T) {
	raw, err := compile(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	var request pluginpb.CodeGeneratorRequest
	if err := proto.Unmarshal(raw, &request); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: request.ProtoFile})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	check := func(d protoreflect.Descriptor) {
		n++
		if strings.TrimSpace(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments) == "" {
			t.Errorf("%s: %s has no comment", d.ParentFile().Path(), d.FullName())
		}
	}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			check(s)
			for k := range s.Methods().Len() {
				check(s.Methods().Get(k))
			}
		}
		for i := range f.Enums().Len() {
			check(f.Enums().Get(i))
		}
		for i := range f.Messages().Len() {
			m := f.Messages().Get(i)
			if name := string(m.Name()); !strings.HasSuffix(name, "Request") && !strings.HasSuffix(name, "Response") {
				check(m)
			}
			for k := range m.Enums().Len() {
				check(m.Enums().Get(k))
			}
		}
		return true
	})
	if n < 80 || !registered(files, "splitvm.v1.VNodes") {
		t.Errorf("looked at %d things only", n)
	}
}

func registered(files *protoregistry.Files, name protoreflect.FullName) bool {
	_, err := files.FindDescriptorByName(name)
	return err == nil
}
