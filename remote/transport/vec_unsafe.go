package transport

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxVec is the largest number of slices in a Vec: IOV_MAX of Linux.
const MaxVec = 1024

// Vec is a list of slices to be filled or sent by one system call, and is
// consumed from its front. It is reused from message to message and allocates
// only in NewVec. Not for concurrent use.
type Vec struct {
	iov   []unix.Iovec // iov[:tail] in use, iov[head:tail] not consumed yet
	head  int
	tail  int
	bytes int
	limit uintptr     // end of the capacity of the last slice added
	msg   unix.Msghdr // kept here so that a call allocates nothing
}

// NewVec returns an empty Vec for at most n slices (n <= MaxVec).
func NewVec(n int) *Vec {
	if n < 1 || n > MaxVec {
		panic("transport: Vec size out of range")
	}
	return &Vec{iov: make([]unix.Iovec, n)}
}

// Reset empties the Vec and lets go of the memory that it referred to.
func (v *Vec) Reset() {
	clear(v.iov[:v.tail])
	v.head, v.tail, v.bytes = 0, 0, 0
}

// Add appends b. A slice that continues the one before it in memory, within
// the capacity of that one, is merged with it. (Neighbours that are different
// allocations are not: the garbage collector must see both.) Adding beyond Room
// is a broken invariant of the caller and panics.
func (v *Vec) Add(b []byte) {
	if len(b) == 0 {
		return
	}
	v.bytes += len(b)
	p := unsafe.SliceData(b)
	if v.tail > v.head {
		last := &v.iov[v.tail-1]
		at := uintptr(unsafe.Pointer(p))
		if uintptr(unsafe.Pointer(last.Base))+uintptr(last.Len) == at && at+uintptr(len(b)) <= v.limit {
			last.Len += uint64(len(b))
			return
		}
	}
	v.limit = uintptr(unsafe.Pointer(p)) + uintptr(cap(b))
	v.iov[v.tail] = unix.Iovec{Base: p, Len: uint64(len(b))}
	v.tail++
}

// Len returns the number of bytes not consumed yet.
func (v *Vec) Len() int { return v.bytes }

// Room returns how many more slices fit.
func (v *Vec) Room() int { return len(v.iov) - v.tail }

// Consume drops n bytes from the front.
func (v *Vec) Consume(n int) {
	if n < 0 || n > v.bytes {
		panic("transport: consumed more than there is")
	}
	v.bytes -= n
	for n > 0 {
		e := &v.iov[v.head]
		if uint64(n) < e.Len {
			e.Base = (*byte)(unsafe.Add(unsafe.Pointer(e.Base), n))
			e.Len -= uint64(n)
			return
		}
		n -= int(e.Len)
		*e = unix.Iovec{}
		v.head++
	}
}

// Front returns the first slice that is not consumed yet, nil when there is
// none. It is for transports that move bytes themselves.
func (v *Vec) Front() []byte {
	if v.head == v.tail {
		return nil
	}
	e := &v.iov[v.head]
	return unsafe.Slice(e.Base, e.Len)
}

// call does recvmsg or sendmsg on what is not consumed.
func (v *Vec) call(trap uintptr, fd int, flags uintptr) (int, unix.Errno) {
	v.msg.Iov = &v.iov[v.head]
	v.msg.Iovlen = uint64(v.tail - v.head)
	n, _, errno := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), flags)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// rawLimit is up to how many bytes a call that cannot block is short enough to
// be hidden from the Go scheduler.
const rawLimit = 16 << 10

// callNonblock is call for flags with MSG_DONTWAIT.
func (v *Vec) callNonblock(trap uintptr, fd int, flags uintptr) (int, unix.Errno) {
	if v.bytes > rawLimit {
		return v.call(trap, fd, flags)
	}
	v.msg.Iov = &v.iov[v.head]
	v.msg.Iovlen = uint64(v.tail - v.head)
	n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), flags)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
