package kvm

import gokvm "github.com/bobuhiro11/gokvm/kvm"

// SyncSet says which registers travel in the run area (KVM_SYNC_X86_*).
type SyncSet uint64

// Register sets of KVM_CAP_SYNC_REGS.
const (
	SyncRegs   SyncSet = 1 << 0
	SyncSregs  SyncSet = 1 << 1
	SyncEvents SyncSet = 1 << 2
)

// SyncedRegs is struct kvm_sync_regs: registers that Run stores at each exit
// and takes over at the next entry, without an ioctl of their own. It saves
// two system calls per exit to whoever switches contexts on a vCPU.
type SyncedRegs struct {
	Regs   gokvm.Regs
	Sregs  gokvm.Sregs
	Events gokvm.VCPUEvents
}

// SetSyncRegs chooses the sets that each exit stores.
func (v *VCPU) SetSyncRegs(s SyncSet) { *view[SyncSet](v.page, offValidRegs) = s }

// Synced is the area that exits store to; valid after Run returned an exit.
// Whoever changes it calls MarkDirty before the next Run.
func (v *VCPU) Synced() *SyncedRegs { return view[SyncedRegs](v.page, offSyncRegs) }

// MarkDirty makes the next Run take the sets over from Synced.
func (v *VCPU) MarkDirty(s SyncSet) { *view[SyncSet](v.page, offDirtyRegs) |= s }
