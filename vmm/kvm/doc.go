// Package kvm is a thin layer over the Linux KVM API (Documentation/virt/kvm/api.rst).
//
// It builds on gokvm's kvm package: its structures, ioctl number builder and
// scalar calls are used as they are. It does not use gokvm's calls that hand a
// pointer to the kernel as a plain uintptr through a Go function (the Go
// runtime may move a stack under it), gokvm's Run (it hides EINTR, by which a
// vCPU is stopped), or its IRQ routing entries (24 bytes where the kernel has
// 48). What gokvm lacks is here: the life of file descriptors, ioeventfd,
// irqfd, MSI routes, dirty log, xsave, vCPU events with errors kept, sync
// registers and typed exits.
//
// Every error wraps the errno and names the ioctl. A System outlives its VMs,
// a VM its VCPUs. VM methods may be called from any goroutine; a VCPU's only
// from the thread that runs it, but for Kick.
package kvm

import "fmt"

// ioctlError names the call that failed.
type ioctlError struct {
	call string
	err  error
}

func (e *ioctlError) Error() string { return fmt.Sprintf("%s: %v", e.call, e.err) }
func (e *ioctlError) Unwrap() error { return e.err }

func wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	return &ioctlError{call, err}
}
