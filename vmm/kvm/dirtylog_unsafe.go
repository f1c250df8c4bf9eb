package kvm

import (
	"runtime"
	"unsafe"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// getDirtyLog hands the kernel a structure that itself points to the bitmap,
// which is pinned for the call.
func getDirtyLog(fd int, slot uint32, bitmap []uint64) error {
	var pin runtime.Pinner
	pin.Pin(unsafe.SliceData(bitmap))
	defer pin.Unpin()
	_, err := ioctlPtr(fd, gokvm.IIOW(nrGetDirtyLog, sizeof[dirtyLog]()), &dirtyLog{slot: slot, bitmap: addrOf(bitmap)})
	return wrap("KVM_GET_DIRTY_LOG", err)
}
