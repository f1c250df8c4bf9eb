//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/modules"
)

// loader loads modules of the running kernel out of the initramfs.
type loader struct {
	dir    string         // of modules.dep; module files are relative to it
	index  *modules.Index // nil: there are no modules
	loaded map[string]bool
	seen   map[string]bool // modaliases that were looked up
}

// newLoader reads what depmod wrote. An initramfs without modules is fine: the
// kernel may have all it needs built in.
func newLoader() *loader {
	l := &loader{loaded: map[string]bool{}, seen: map[string]bool{}}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		logError(fmt.Errorf("uname: %w", err))
		return l
	}
	l.dir = "/lib/modules/" + unix.ByteSliceToString(uts.Release[:])
	dep, err := os.ReadFile(l.dir + "/modules.dep")
	if err != nil {
		logf("no modules: %v", err)
		return l
	}
	aliases, err := os.ReadFile(l.dir + "/modules.alias")
	if err != nil {
		logError(err)
	}
	l.index, err = modules.Parse(string(dep), string(aliases))
	if err != nil {
		logError(fmt.Errorf("%s: %w", l.dir, err))
	}
	return l
}

// loadForDevices loads what the devices on every bus need, until no device that
// a newly loaded driver found needs more. Drivers of virtio devices probe within
// finit_module, so that the devices are there when it returns.
func (l *loader) loadForDevices() {
	if l.index == nil {
		return
	}
	buses := devicePatterns(l.index.Buses())
	for {
		fresh := 0
		for _, modalias := range deviceAliases(buses) {
			if l.seen[modalias] {
				continue
			}
			l.seen[modalias] = true
			for _, name := range l.index.Match(modalias) {
				fresh += l.load(name)
			}
		}
		if fresh == 0 {
			return
		}
	}
}

// ownBuses are the buses whose devices, and only they, have a modalias that begins
// with the bus's name.
var ownBuses = []string{"pci", "virtio", "usb", "cpu", "vmbus"}

// devicePatterns gives the paths of the devices whose modalias can begin with one
// of the names, so that the hundred devices on other buses need not be asked
// (they cost 0.05 s). /sys/bus reaches each device in two steps, where
// /sys/devices is a deep tree of mostly other things.
func devicePatterns(names []string) []string {
	var patterns []string
	for _, name := range names {
		if !slices.Contains(ownBuses, name) { // acpi, of: on whatever bus the device is
			return []string{"/sys/bus/*/devices/*/modalias"}
		}
		patterns = append(patterns, "/sys/bus/"+name+"/devices/*/modalias")
	}
	return patterns
}

// deviceAliases reads the modalias of every device at the patterns.
func deviceAliases(patterns []string) []string {
	var list []string
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil {
			return nil // the patterns are right
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err == nil { // a device may be gone again, or refuse
				list = append(list, strings.TrimSpace(string(data)))
			}
		}
	}
	return list
}

// loadFor loads what has the alias, such as fs-ext4, if it is a module.
func (l *loader) loadFor(alias string) {
	if l.index == nil {
		return
	}
	for _, name := range l.index.Match(alias) {
		l.load(name)
	}
}

// load loads the named module after what it needs, and tells how many were new.
// What fails is logged: it may not matter, and if it does, the device that is
// missing is the error.
func (l *loader) load(name string) int {
	order, err := l.index.LoadOrder(name)
	if err != nil {
		logError(err)
		return 0
	}
	fresh := 0
	for _, m := range order {
		if l.loaded[m.Name] {
			continue
		}
		l.loaded[m.Name] = true
		if err := insert(filepath.Join(l.dir, m.File)); err != nil {
			logError(err)
			return fresh
		}
		fresh++
	}
	return fresh
}

// insert has the kernel load the module in the file, which the kernel itself
// decompresses (Linux 5.17, CONFIG_MODULE_DECOMPRESS) if it is compressed.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	flags := 0
	if filepath.Ext(file) != ".ko" {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), "", flags)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}
