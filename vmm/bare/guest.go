//go:build amd64

package bare

import (
	"encoding/binary"
	"sync"
	"time"

	"splitvm/guest/bare"
	"splitvm/guest/boot"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
)

// guest serves a program's ports. A vCPU blocks in it on its own thread, which
// a bus device must not do: so it takes the exits before the buses.
type guest struct {
	entries []boot.Entry
	atMark  func(n int) // may be nil

	mu      sync.Mutex
	waiting int           // vCPUs at the mark; guarded by mu
	exited  int           // guarded by mu
	release chan struct{} // closed when the mark is complete; guarded by mu
	marks   []time.Time   // guarded by mu until the VM's end
	status  []uint32      // by vCPU; guarded by mu until the VM's end
	end     time.Time     // guarded by mu until the VM's end
	cycles  float64       // a second; guarded by mu until the VM's end
}

// HandleExit takes the writes to a bare guest's ports.
func (g *guest) HandleExit(vm *vmm.VM, index int, v *kvm.VCPU, r kvm.Reason) (bool, error) {
	if r != kvm.ExitIO {
		return false, nil
	}
	io := v.IO()
	if !io.Out || io.Size != 4 || len(io.Data) != 4 {
		return false, nil
	}
	switch io.Port {
	case bare.PortMark:
		g.mark(vm)
	case bare.PortExit:
		g.exit(vm, index, binary.LittleEndian.Uint32(io.Data))
	default:
		return false, nil
	}
	return true, nil
}

// mark waits until all vCPUs that still run are here.
func (g *guest) mark(vm *vmm.VM) {
	g.mu.Lock()
	g.waiting++
	release := g.release
	g.passIfComplete()
	g.mu.Unlock()
	select {
	case <-release:
	case <-vm.Ended():
	}
}

// passIfComplete lets the waiting vCPUs go on when all are there; g.mu is held.
func (g *guest) passIfComplete() {
	if g.waiting == 0 || g.waiting+g.exited < len(g.status) {
		return
	}
	g.marks = append(g.marks, time.Now())
	if g.atMark != nil {
		g.atMark(len(g.marks))
	}
	close(g.release)
	g.release, g.waiting = make(chan struct{}), 0
}

// exit keeps the vCPU here until all have come, which ends the guest with the
// first status that is not StatusDone.
func (g *guest) exit(vm *vmm.VM, index int, status uint32) {
	g.mu.Lock()
	g.status[index] = status
	g.exited++
	g.passIfComplete()
	last := g.exited == len(g.status)
	if last {
		g.end = time.Now()
	}
	g.mu.Unlock()
	if last {
		vm.End(vmm.Outcome{End: vmm.Exited, Status: g.worst()})
		return
	}
	<-vm.Ended()
}

func (g *guest) worst() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.status {
		if s != bare.StatusDone {
			return int(s)
		}
	}
	return bare.StatusDone
}

// start sets a vCPU's registers.
func (g *guest) start(index int, v *kvm.VCPU) error {
	if khz, err := v.TSCKHz(); err == nil {
		g.mu.Lock()
		g.cycles = float64(khz) * 1e3
		g.mu.Unlock()
	}
	return vmm.Enter(v, g.entries[index])
}
