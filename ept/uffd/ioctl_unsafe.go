package uffd

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mode changes what a call does.
type Mode uint64

// The modes. Each method takes those that its comment names; the numbers of the kernel differ
// from call to call.
const (
	ModeDontWake Mode = 1 << iota // leave the sleepers asleep
	ModeWP                        // map write-protected
)

// RegisterMode is the set of faults that become events.
type RegisterMode uint64

// The kinds of faults.
const (
	RegisterMissing RegisterMode = 1 << 0
	RegisterWP      RegisterMode = 1 << 1
	RegisterMinor   RegisterMode = 1 << 2
)

func (f *File) ioctl(request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.fd), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

func (f *File) api(need Features) (Features, error) {
	arg := struct{ api, features, ioctls uint64 }{api: apiVersion, features: uint64(need)}
	err := f.ioctl(ioctlAPI, unsafe.Pointer(&arg))
	return Features(arg.features), err
}

// Register makes faults in [addr, addr+size) events of f; both are multiples of
// the page size and lie in mappings of this process. The error wraps EBUSY if the
// range belongs to another userfaultfd, EINVAL if nothing is mapped there or
// the memory isn't of a kind that can be registered, and ErrNotSupported if the kernel can't
// serve it with all the methods below.
func (f *File) Register(addr, size uint64, mode RegisterMode) error {
	arg := struct{ start, len, mode, ioctls uint64 }{start: addr, len: size, mode: uint64(mode)}
	if err := f.ioctl(ioctlRegister, unsafe.Pointer(&arg)); err != nil {
		return wrap("register range with userfaultfd", err)
	}
	if arg.ioctls&rangeIoctls != rangeIoctls {
		f.Unregister(addr, size)
		return wrap("register range with userfaultfd", ErrNotSupported)
	}
	return nil
}

// Unregister ends the events of the range. Sleepers in it are woken.
func (f *File) Unregister(addr, size uint64) error {
	arg := struct{ start, len uint64 }{addr, size}
	return wrap("unregister range of userfaultfd", f.ioctl(ioctlUnregister, unsafe.Pointer(&arg)))
}

// Copy puts src, whole pages, into new pages at addr, maps them and wakes
// their sleepers. Modes: ModeDontWake, ModeWP. It returns how many bytes are
// done, also with an error: EEXIST, the next page is there already (in the page
// cache, or mapped); EAGAIN, the address space is being changed, try
// again; ENOENT, nothing is registered there; ESRCH, the process is gone; ENOMEM,
// no memory (or over the limit of its memory cgroup).
func (f *File) Copy(addr uint64, src []byte, mode Mode) (uint64, error) {
	if len(src) == 0 {
		return 0, nil
	}
	done := uint64(0)
	for done < uint64(len(src)) {
		arg := struct {
			dst, src, len, mode uint64
			copied              int64
		}{dst: addr + done, src: uint64(uintptr(unsafe.Pointer(&src[done]))), len: uint64(len(src)) - done, mode: kernelMode(mode)}
		err := f.ioctl(ioctlCopy, unsafe.Pointer(&arg))
		done += uint64(max(arg.copied, 0))
		if err == unix.EAGAIN && arg.copied > 0 {
			continue // stopped short: the next call says why
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Zeropage maps new pages of zeroes, writable. Mode: ModeDontWake. Result and
// errors are those of Copy.
func (f *File) Zeropage(addr, size uint64, mode Mode) (uint64, error) {
	return f.fill(ioctlZeropage, addr, size, kernelMode(mode))
}

// Continue maps the pages that are in the page cache already. Modes:
// ModeDontWake, ModeWP (EINVAL before Linux 6.4). Result and errors are those
// of Copy, but EEXIST means that the next page is mapped already, and
// EFAULT that it isn't in the page cache.
func (f *File) Continue(addr, size uint64, mode Mode) (uint64, error) {
	return f.fill(ioctlContinue, addr, size, kernelMode(mode))
}

// fill is Zeropage and Continue: range, mode, and bytes done.
func (f *File) fill(request uintptr, addr, size, mode uint64) (uint64, error) {
	done := uint64(0)
	for done < size {
		arg := struct {
			start, len, mode uint64
			filled           int64
		}{start: addr + done, len: size - done, mode: mode}
		err := f.ioctl(request, unsafe.Pointer(&arg))
		done += uint64(max(arg.filled, 0))
		if err == unix.EAGAIN && arg.filled > 0 {
			continue
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Protect write-protects the range; pages that aren't there are left alone or
// marked, which Copy and Continue ignore. Nobody is woken. Errors: ENOENT, the range isn't
// registered for it; EAGAIN, the address space is being changed.
func (f *File) Protect(addr, size uint64) error {
	return f.writeProtect(addr, size, 1)
}

// Unprotect makes the pages of the range writable and wakes their sleepers
// (Mode: ModeDontWake). Errors are those of Protect.
func (f *File) Unprotect(addr, size uint64, mode Mode) error {
	m := uint64(0)
	if mode&ModeDontWake != 0 {
		m = 2
	}
	return f.writeProtect(addr, size, m)
}

func (f *File) writeProtect(addr, size, mode uint64) error {
	arg := struct{ start, len, mode uint64 }{addr, size, mode}
	return f.ioctl(ioctlWriteProtect, unsafe.Pointer(&arg))
}

// Wake wakes every thread that sleeps for a fault in the range, whether its
// event was read or not. Its access is tried again.
func (f *File) Wake(addr, size uint64) error {
	arg := struct{ start, len uint64 }{addr, size}
	return f.ioctl(ioctlWake, unsafe.Pointer(&arg))
}

// kernelMode is the mode of COPY, ZEROPAGE and CONTINUE.
func kernelMode(m Mode) uint64 {
	k := uint64(0)
	if m&ModeDontWake != 0 {
		k |= 1
	}
	if m&ModeWP != 0 {
		k |= 2
	}
	return k
}
