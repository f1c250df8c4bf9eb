package initramfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
)

// DefaultModules are the modules that splitvm's devices, and roots on them, can
// need. Kernels have some of them built in or lack them.
var DefaultModules = []string{
	"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "virtio_balloon", "virtio_mem",
	"vmw_vsock_virtio_transport", "ext4", "squashfs", "erofs", "overlay",
}

// Config says what goes into an initramfs.
type Config struct {
	// Init is the path of the init program, a static x86-64 executable: the
	// build of guest/init, or any other.
	Init string
	// Modules is the directory lib/modules/RELEASE of the kernel's package, with
	// modules plain or compressed by xz, zstd or gzip. Empty: no modules.
	Modules string
	// Names are the modules to take, with all that they need; nil is
	// DefaultModules as far as there are any. Each of Names must be there.
	Names []string
	// StripSignatures takes the signatures off the modules. Checking one costs a
	// guest about 0.1 G instructions with Debian's 6.12 kernel (0.01 G with 6.1),
	// a third of a boot's time in all, and protects nothing here: who can change a
	// module in the archive can change the init beside it. But the kernel calls
	// itself tainted (E), and refuses them under module.sig_enforce or lockdown.
	StripSignatures bool
	// Files are more files; they replace others of the same path.
	Files []File
}

// Write writes the initramfs that c describes.
func Write(w io.Writer, c Config) error {
	init, err := readInit(c.Init)
	if err != nil {
		return err
	}
	files := []File{{Path: "/init", Mode: 0o755, Data: init}}
	if c.Modules != "" {
		found, err := moduleFiles(c)
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	return Overlay(w, append(files, c.Files...)...)
}

// readInit reads the init program and checks that a bare initramfs can run it.
func readInit(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("initramfs: the init program: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("initramfs: the init program %s: %w", path, err)
	}
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return nil, fmt.Errorf("initramfs: the init program %s is no x86-64 executable", path)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("initramfs: the init program %s needs shared libraries: build it with CGO_ENABLED=0", path)
		}
	}
	return data, nil
}

// moduleFiles gives the modules of c and the files by which init finds them.
func moduleFiles(c Config) ([]File, error) {
	t, err := openTree(c.Modules)
	if err != nil {
		return nil, err
	}
	names, optional := c.Names, false
	if names == nil {
		names, optional = DefaultModules, true
	}
	list, err := t.closure(names, optional)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 && len(t.builtin) == 0 {
		return nil, errors.New("initramfs: none of the modules is there, nor a list of built-in ones")
	}
	dir := "/lib/modules/" + t.release + "/"
	var files []File
	for _, m := range list {
		data := m.data
		if c.StripSignatures {
			data = stripSignature(data)
		}
		files = append(files, File{Path: dir + m.file, Mode: 0o644, Data: data})
	}
	dep, alias := depmod(list, t.builtin)
	return append(files,
		File{Path: dir + "modules.dep", Mode: 0o644, Data: []byte(dep)},
		File{Path: dir + "modules.alias", Mode: 0o644, Data: []byte(alias)}), nil
}
