package uring

import (
	"errors"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags       uint32
	threadCPU, threadIdle, features   uint32
	wqFD                              uint32
	_                                 [3]uint32
	sqHead, sqTail, sqMask, sqSize    uint32
	sqFlags, sqDropped, sqArray, _    uint32
	_                                 uint64
	cqHead, cqTail, cqMask, cqSize    uint32
	cqOverflow, cqEntriesAt, cqFlg, _ uint32
	_                                 uint64
}

// entry is struct io_uring_sqe.
type entry struct {
	opcode, flags uint8
	_             uint16
	fd            int32
	off, addr     uint64
	len           uint32
	opFlags       uint32
	userData      uint64
	_             [3]uint64
}

// completed is struct io_uring_cqe.
type completed struct {
	userData uint64
	res      int32
	flags    uint32
}

const (
	offsetRings   = 0 // of mmap
	offsetEntries = 0x10000000

	enterGetEvents = 1 << 0
)

func setup(entries, flags uint32) (int, *params, error) {
	p := &params{flags: flags}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, nil, errno
	}
	unix.CloseOnExec(int(fd))
	return int(fd), p, nil
}

func enter(fd int, submit, wait uint32) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), enterGetEvents, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// queues are the two rings shared with the kernel.
type queues struct {
	rings, table []byte // the mappings

	sqTail  *uint32
	sqMask  uint32
	entries []entry

	cqHead, cqTail *uint32
	cqMask         uint32
	done           []completed
}

func mapQueues(fd int, p *params) (queues, error) {
	size := max(p.sqArray+4*p.sqEntries, p.cqEntriesAt+uint32(unsafe.Sizeof(completed{}))*p.cqEntries)
	rings, err := unix.Mmap(fd, offsetRings, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return queues{}, err
	}
	table, err := unix.Mmap(fd, offsetEntries, int(p.sqEntries)*int(unsafe.Sizeof(entry{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return queues{}, errors.Join(err, unix.Munmap(rings))
	}
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&rings[off])) }
	q := queues{
		rings: rings, table: table,
		sqTail: word(p.sqTail), sqMask: *word(p.sqMask),
		entries: unsafe.Slice((*entry)(unsafe.Pointer(&table[0])), p.sqEntries),
		cqHead:  word(p.cqHead), cqTail: word(p.cqTail), cqMask: *word(p.cqMask),
		done: unsafe.Slice((*completed)(unsafe.Pointer(&rings[p.cqEntriesAt])), p.cqEntries),
	}
	for i := range p.sqEntries {
		*word(p.sqArray + 4*i) = i // entry i of the ring is entry i of the table
	}
	return q, nil
}

func (q *queues) unmap() error { return errors.Join(unix.Munmap(q.rings), unix.Munmap(q.table)) }

// put adds an entry for the kernel. The ring has room: there are more entries
// than transfers in flight.
func (q *queues) put(e entry) {
	tail := atomic.LoadUint32(q.sqTail)
	q.entries[tail&q.sqMask] = e
	atomic.StoreUint32(q.sqTail, tail+1)
}

// take appends the completions that are there to dst.
func (q *queues) take(dst []completed) []completed {
	head, tail := atomic.LoadUint32(q.cqHead), atomic.LoadUint32(q.cqTail)
	for ; head != tail; head++ {
		dst = append(dst, q.done[head&q.cqMask])
	}
	atomic.StoreUint32(q.cqHead, head)
	return dst
}

func appendVectors(dst []unix.Iovec, memory [][]byte) []unix.Iovec {
	for _, p := range memory {
		v := unix.Iovec{Base: unsafe.SliceData(p)}
		v.SetLen(len(p))
		dst = append(dst, v)
	}
	return dst
}

func address(v []unix.Iovec) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(v)))) }
