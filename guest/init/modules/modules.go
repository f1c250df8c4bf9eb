// Package modules says which kernel modules a device needs, and in what order
// they are loaded, from the files that depmod makes: modules.dep and
// modules.alias (kmod's modules.dep(5)). It is pure. The guest's init
// (guest/init) loads by it; images/initramfs writes the files.
package modules

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Index is what a directory of modules offers. It is immutable after Parse.
type Index struct {
	files   map[string]string   // by module name
	needs   map[string][]string // names of what a module needs, by its name
	aliases []alias             // in the file's order
}

type alias struct{ pattern, module string }

// Name is the kernel's name of the module in the file: virtio_net of
// kernel/drivers/net/virtio-net.ko.xz.
func Name(file string) string {
	base := path.Base(file)
	if i := strings.Index(base, ".ko"); i >= 0 {
		base = base[:i]
	}
	return strings.ReplaceAll(base, "-", "_")
}

// Parse reads the content of modules.dep and modules.alias. Lines that are not
// understood are an error which tells the first.
func Parse(dep, aliases string) (*Index, error) {
	x := &Index{files: map[string]string{}, needs: map[string][]string{}}
	for line := range fields(dep) {
		file, ok := strings.CutSuffix(line[0], ":")
		if !ok {
			return nil, fmt.Errorf("modules.dep: no file in %q", strings.Join(line, " "))
		}
		x.files[Name(file)] = file
		for _, need := range line[1:] {
			x.needs[Name(file)] = append(x.needs[Name(file)], Name(need))
		}
	}
	for line := range fields(aliases) {
		if len(line) != 3 || line[0] != "alias" {
			return nil, fmt.Errorf("modules.alias: no alias in %q", strings.Join(line, " "))
		}
		x.aliases = append(x.aliases, alias{pattern: line[1], module: Name(line[2])})
	}
	return x, nil
}

// fields yields the words of each line that is neither empty nor a comment.
func fields(text string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			if len(words) == 0 || words[0][0] == '#' {
				continue
			}
			if !yield(words) {
				return
			}
		}
	}
}

// Buses gives what the aliases of devices begin with, up to the colon: pci,
// virtio, acpi. Each is there once, in the order of modules.alias.
func (x *Index) Buses() []string {
	var list []string
	for _, a := range x.aliases {
		bus, _, ok := strings.Cut(a.pattern, ":")
		if ok && !slices.Contains(list, bus) {
			list = append(list, bus)
		}
	}
	return list
}

// Match gives the names of the modules that have an alias for the device's
// modalias, or for another name such as fs-squashfs, each once and in the
// order of modules.alias. A module matches its own name too.
func (x *Index) Match(modalias string) []string {
	var names []string
	if name := Name(modalias); x.files[name] != "" && !strings.ContainsAny(modalias, "./") {
		names = append(names, name)
	}
	for _, a := range x.aliases {
		if !slices.Contains(names, a.module) && Glob(a.pattern, modalias) {
			names = append(names, a.module)
		}
	}
	return names
}

// Module is one module to load.
type Module struct {
	Name string
	File string // relative to the directory of modules.dep
}

// LoadOrder gives the named module and all that it needs, what is needed first.
// It is an error if one is not there, or if modules need each other.
func (x *Index) LoadOrder(name string) ([]Module, error) {
	var order []Module
	state := map[string]visit{}
	if err := x.collect(name, state, &order); err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	return order, nil
}

// visit is how far collect is with a module.
type visit uint8

const (
	unseen visit = iota
	begun
	done
)

func (x *Index) collect(name string, state map[string]visit, order *[]Module) error {
	switch state[name] {
	case done:
		return nil
	case begun:
		return fmt.Errorf("%s needs itself", name)
	}
	file, ok := x.files[name]
	if !ok {
		return fmt.Errorf("%s is not in modules.dep", name)
	}
	state[name] = begun
	for _, need := range x.needs[name] {
		if err := x.collect(need, state, order); err != nil {
			return err
		}
	}
	state[name] = done
	*order = append(*order, Module{Name: name, File: file})
	return nil
}
