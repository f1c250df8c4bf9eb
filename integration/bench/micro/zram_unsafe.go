//go:build amd64

package micro

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zram is a compressed RAM disk that the kernel swaps to while it is on.
type zram struct {
	name  string // zram0
	added bool   // made by us
	on    bool
}

// openZRAM takes an unused zram device, or adds one, gives it a size and swaps
// to it.
func openZRAM(ctx context.Context, size uint64) (*zram, error) {
	z, err := freeZRAM()
	if err != nil {
		return nil, fmt.Errorf("swap to zram: %w", err)
	}
	if err := z.start(ctx, size); err != nil {
		return nil, errors.Join(fmt.Errorf("swap to %s: %w", z.name, err), z.close())
	}
	return z, nil
}

func freeZRAM() (*zram, error) {
	devices, err := filepath.Glob("/sys/block/zram*")
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		z := &zram{name: filepath.Base(d)}
		if size, err := z.get("disksize"); err == nil && size == "0" {
			return z, nil
		}
	}
	b, err := os.ReadFile("/sys/class/zram-control/hot_add")
	if err != nil {
		return nil, fmt.Errorf("no unused zram device: %w: load the kernel's module zram, as root", err)
	}
	return &zram{name: "zram" + strings.TrimSpace(string(b)), added: true}, nil
}

func (z *zram) path(attribute string) string { return "/sys/block/" + z.name + "/" + attribute }

func (z *zram) get(attribute string) (string, error) {
	b, err := os.ReadFile(z.path(attribute))
	return strings.TrimSpace(string(b)), err
}

func (z *zram) set(attribute, value string) error {
	return os.WriteFile(z.path(attribute), []byte(value), 0o200)
}

// swapPriority puts our swap before any other: SWAP_FLAG_PREFER | priority.
const swapPriority = 0x8000 | 0x7fff

func (z *zram) start(ctx context.Context, size uint64) error {
	if err := z.set("disksize", strconv.FormatUint(size, 10)); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mkswap", "/dev/"+z.name).CombinedOutput(); err != nil {
		return fmt.Errorf("mkswap: %w: %s", err, out)
	}
	if err := swapCall(unix.SYS_SWAPON, "/dev/"+z.name, swapPriority); err != nil {
		return fmt.Errorf("swapon: %w", err)
	}
	z.on = true
	return nil
}

func swapCall(call uintptr, path string, flags uintptr) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(call, uintptr(unsafe.Pointer(p)), flags, 0); errno != 0 {
		return errno
	}
	return nil
}

// algorithm is the compressor in use.
func (z *zram) algorithm() string {
	all, err := z.get("comp_algorithm")
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(all, "[")
	name, _, _ := strings.Cut(rest, "]")
	return name
}

// close ends the swap and leaves the device as it was found.
func (z *zram) close() error {
	if z.on {
		if err := swapCall(unix.SYS_SWAPOFF, "/dev/"+z.name, 0); err != nil {
			return fmt.Errorf("swapoff /dev/%s: %w: end it by hand with swapoff and `echo 1 > %s`", z.name, err, z.path("reset"))
		}
		z.on = false
	}
	if err := z.set("reset", "1"); err != nil {
		return fmt.Errorf("reset %s: %w", z.name, err)
	}
	if z.added {
		return os.WriteFile("/sys/class/zram-control/hot_remove", []byte(strings.TrimPrefix(z.name, "zram")), 0o200)
	}
	return nil
}
