package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are the code generators, each a `tool` in go.mod.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

// generate returns the text of each generated file by its name.
func generate(ctx context.Context, dir string) (map[string]string, error) {
	request, err := compile(ctx, dir)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, plugin := range plugins {
		files, err := runPlugin(ctx, dir, plugin, request)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", plugin, err)
		}
		maps.Copy(all, files)
	}
	return all, nil
}

// compile turns the folder's files into what a plugin of protoc reads.
func compile(ctx context.Context, dir string) ([]byte, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.proto"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no *.proto file in %s", dir)
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{dir}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := c.Compile(ctx, names...)
	if err != nil {
		return nil, err
	}
	parameter := "paths=source_relative"
	r := &pluginpb.CodeGeneratorRequest{FileToGenerate: names, Parameter: &parameter}
	seen := map[string]bool{}
	for _, f := range compiled {
		r.ProtoFile = appendFile(r.ProtoFile, f, seen)
	}
	return proto.Marshal(r)
}

// appendFile appends f after what it imports, each once, as plugins demand.
func appendFile(list []*descriptorpb.FileDescriptorProto, f protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return list
	}
	seen[f.Path()] = true
	imports := f.Imports()
	for i := range imports.Len() {
		list = appendFile(list, imports.Get(i).FileDescriptor, seen)
	}
	if r, ok := f.(linker.Result); ok { // has the comments, which ToFileDescriptorProto drops
		return append(list, r.FileDescriptorProto())
	}
	return append(list, protodesc.ToFileDescriptorProto(f))
}

func runPlugin(ctx context.Context, dir, plugin string, request []byte) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Dir = dir // inside of the module, whose tools they are
	cmd.Stdin = bytes.NewReader(request)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, errs.Bytes())
	}
	var answer pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, errors.New(*answer.Error)
	}
	files := map[string]string{}
	for _, f := range answer.File {
		files[f.GetName()] = f.GetContent()
	}
	return files, nil
}
