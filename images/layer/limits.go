package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Limits bound what a set of layers may take. Zero fields have the defaults.
type Limits struct {
	Files  int   // of all layers, those that are hidden as well; default 2 Mi
	Bytes  int64 // of all contents, holes too, and of the archives, decompressed; default 64 GiB
	Meta   int64 // of all names, link targets and extended attributes; default 512 MiB
	Lookup int64 // steps of looking up paths and hiding files; default 1 Gi
}

func (l Limits) withDefaults() Limits {
	set := func(n *int64, v int64) {
		if *n == 0 {
			*n = v
		}
	}
	if l.Files == 0 {
		l.Files = 2 << 20
	}
	set(&l.Bytes, 64<<30)
	set(&l.Meta, 512<<20)
	set(&l.Lookup, 1<<30)
	return l
}

// What Linux's file systems can hold.
const (
	maxName    = 255
	maxPath    = 4095
	maxLinks   = 40        // symbolic links on the way to one file, as the kernel has it
	maxID      = 1<<32 - 2 // the last is "none" to the kernel
	maxTime    = 1<<32 - 1 // squashfs keeps 32 unsigned bits
	maxXattr   = 64 << 10  // bytes of one extended attribute
	maxDevice  = 1<<12 - 1 // major
	maxDevices = 1<<20 - 1 // minor
)

// ErrLimit is wrapped by the error about layers that are larger than the Limits.
var ErrLimit = errors.New("larger than allowed")

// spend takes n of what is left of a limit.
func spend(left *int64, n int64, what string) error {
	if n < 0 || n > *left {
		return fmt.Errorf("%s: %w", what, ErrLimit)
	}
	*left -= n
	return nil
}

// bounded reads up to a limit, and while its context lasts.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left *int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if lerr := spend(b.left, int64(n), "decompressed layers"); lerr != nil {
		return n, lerr
	}
	return n, err
}
