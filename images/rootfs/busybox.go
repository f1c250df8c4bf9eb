package rootfs

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
)

// FindBusybox finds a statically linked busybox on this machine.
func FindBusybox() (string, error) {
	path, err := find("busybox")
	if err == nil {
		err = checkStatic(path)
	}
	if err != nil {
		return "", fmt.Errorf("a static busybox is %w (%v): apt-get install busybox-static", ErrNoTool, err)
	}
	return path, nil
}

// checkStatic tells whether the program runs without shared libraries.
func checkStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs shared libraries", path)
		}
	}
	return nil
}

// Busybox gives the files of a root that has the busybox of the path and all its
// applets, the mount points that a guest needs, and users root and nobody.
func Busybox(ctx context.Context, path string) ([]File, error) {
	if err := checkStatic(path); err != nil {
		return nil, fmt.Errorf("busybox: %w: take the one of Debian's package busybox-static", err)
	}
	list, err := exec.CommandContext(ctx, path, "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its applets: %w", path, errors.Join(ctx.Err(), err))
	}
	files := []File{{Path: "/bin/busybox", Mode: 0o755, From: path}}
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "bin/busybox" {
			files = append(files, File{Path: "/" + applet, Mode: fs.ModeSymlink, Data: []byte("/bin/busybox")})
		}
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/etc", "/mnt", "/var"} {
		files = append(files, File{Path: dir, Mode: fs.ModeDir | 0o755})
	}
	return append(files,
		File{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		File{Path: "/root", Mode: fs.ModeDir | 0o700},
		File{Path: "/etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
		File{Path: "/etc/group", Mode: 0o644, Data: []byte("root:x:0:\nnogroup:x:65534:\n")},
		File{Path: "/etc/resolv.conf", Mode: 0o644}), nil
}
