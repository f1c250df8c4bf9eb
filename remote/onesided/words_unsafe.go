package onesided

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"splitvm/remote"
)

const (
	maxTables = 1 << 16 // vRegions of a monitor: 64 TiB
	magic     = 0x31786469_6d767073

	headerBytes = 4096
	tableBytes  = remote.MaxVRegionLines * 8
	indexBytes  = headerBytes + maxTables*int(unsafe.Sizeof(place{})) + maxTables*tableBytes
)

// place is one vRegion's in the directory.
type place struct {
	id, epoch, lines, life atomic.Uint64
}

// layout is a mapped index.
type layout struct {
	mem       []byte
	magic     *atomic.Uint64
	used      *atomic.Uint64
	directory []place
}

// mapIndex maps an index file.
func mapIndex(fd, prot int) (layout, error) {
	mem, err := unix.Mmap(fd, 0, indexBytes, prot, unix.MAP_SHARED)
	if err != nil {
		return layout{}, fmt.Errorf("map index of lines: %w", err)
	}
	unix.Madvise(mem, unix.MADV_DONTDUMP)
	return layout{
		mem:       mem,
		magic:     (*atomic.Uint64)(unsafe.Pointer(&mem[0])),
		used:      (*atomic.Uint64)(unsafe.Pointer(&mem[8])),
		directory: unsafe.Slice((*place)(unsafe.Pointer(&mem[headerBytes])), maxTables),
	}, nil
}

// tableAt returns where in the file the n-th table is.
func tableAt(n int) int { return indexBytes - (maxTables-n)*tableBytes }

// entries returns the n-th table.
func (l *layout) entries(n int) []atomic.Uint64 {
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&l.mem[tableAt(n)])), remote.MaxVRegionLines)
}
