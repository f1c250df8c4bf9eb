package kvm

import gokvm "github.com/bobuhiro11/gokvm/kvm"

// Ioctl numbers that gokvm keeps to itself or lacks (include/uapi/linux/kvm.h).
const (
	nrCreateVM           = 0x01
	nrGetMSRIndexList    = 0x02
	nrCheckExtension     = 0x03
	nrGetSupportedCPUID  = 0x05
	nrGetEmulatedCPUID   = 0x09
	nrCreateVCPU         = 0x41
	nrGetDirtyLog        = 0x42
	nrSetMemoryRegion    = 0x46
	nrSetTSSAddr         = 0x47
	nrSetIdentityMapAddr = 0x48
	nrCreateIRQChip      = 0x60
	nrIRQLine            = 0x61
	nrSetGSIRouting      = 0x6a
	nrIRQFD              = 0x76
	nrCreatePIT2         = 0x77
	nrIOEventFD          = 0x79
	nrSetClock           = 0x7b
	nrGetClock           = 0x7c
	nrRun                = 0x80
	nrGetRegs            = 0x81
	nrSetRegs            = 0x82
	nrGetSregs           = 0x83
	nrSetSregs           = 0x84
	nrGetMSRs            = 0x88
	nrSetMSRs            = 0x89
	nrGetFPU             = 0x8c
	nrSetFPU             = 0x8d
	nrGetLAPIC           = 0x8e
	nrSetLAPIC           = 0x8f
	nrSetCPUID2          = 0x90
	nrGetMPState         = 0x98
	nrSetMPState         = 0x99
	nrGetVCPUEvents      = 0x9f
	nrSetVCPUEvents      = 0xa0
	nrGetDebugRegs       = 0xa1
	nrSetDebugRegs       = 0xa2
	nrEnableCap          = 0xa3
	nrSetTSCKHz          = 0xa2
	nrGetTSCKHz          = 0xa3
	nrGetXSave           = 0xa4
	nrSetXSave           = 0xa5
	nrSignalMSI          = 0xa5
	nrGetXCRS            = 0xa6
	nrSetXCRS            = 0xa7
	nrKVMClockCtrl       = 0xad
	nrGetXSave2          = 0xcf
)

// Capabilities that are younger than gokvm's list.
const (
	CapMemoryFaultInfo = 232 // Linux 6.8
)

var kvmRun = gokvm.IIO(nrRun)
