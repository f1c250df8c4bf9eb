package bare

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"splitvm/guest/bare"
	"splitvm/guest/boot"
	"splitvm/guest/layout"
	"splitvm/vmm"
	"splitvm/vmm/bus"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
	"splitvm/vmm/pc"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/rawfile"
	"splitvm/vmm/virtio/console"
	"splitvm/vmm/virtio/net"
	"splitvm/vmm/virtio/rng"
	"splitvm/vmm/virtio/vsock"
)

const (
	mib     = 1 << 20
	ramSize = 16 * mib
	opsAt   = bare.Memory // what rubbish reads its ops from
	ringsAt = 8 * mib     // where the generated drivers have their queues
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rack is a machine and what has to be closed after it.
type rack struct {
	*pc.Machine
	mem      *memory.Memory
	terminal *console.Device
	nic      *net.Device
	sockets  *vsock.Device
	outside  outside
	closers  []func() error
}

// newMachine is a PC with a device of each kind, whose vCPU runs program.
func newMachine(t testing.TB, sys *kvm.System, program bare.Program, vcpus int, seed uint64, packed bool, log *slog.Logger) *rack {
	t.Helper()
	ram, err := layout.New(ramSize)
	must(t, err)
	r := &rack{}
	r.mem, err = memory.NewLocal(ram.RAM())
	must(t, err)
	r.closers = append(r.closers, r.mem.Close)
	image := bare.ELF(program)
	params := boot.BareParams{Memory: ram}
	for i := range vcpus {
		params.VCPUs = append(params.VCPUs, boot.BareArgs{RDI: bare.BlockAt(i)})
	}
	plan, err := boot.LoadBare(bytes.NewReader(image), int64(len(image)), params)
	must(t, err)
	r.Machine, err = pc.New(pc.Config{
		System: sys, Map: ram, Memory: r.mem, VCPUs: vcpus, Plan: plan, Devices: r.devices(t, seed, log), Packed: packed, Log: log,
	})
	must(t, err)
	must(t, r.VM.Ports.Add(bare.PortMark, 4, nothing{}))
	must(t, r.VM.Ports.Add(bare.PortExit, 4, newExit(r.VM, vcpus)))
	r.outside.begin(seed, r)
	return r
}

func (r *rack) devices(t testing.TB, seed uint64, log *slog.Logger) []virtio.Device {
	t.Helper()
	scratch := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(scratch, nil, 0o600))
	must(t, os.Truncate(scratch, 4*mib))
	file, err := rawfile.Open(rawfile.Config{Path: scratch})
	must(t, err)
	r.closers = append(r.closers, file.Close)
	disk, err := block.New(block.Config{Backend: file, Serial: "scratch", Queues: 2})
	must(t, err)
	entropy, err := rng.New(rng.Config{})
	must(t, err)
	r.terminal, err = console.New(console.Config{Ports: []console.Port{{Name: "console", Console: true}, {Name: "results"}}})
	must(t, err)
	r.closers = append(r.closers, r.terminal.Close)
	cable := newWire(t, rand.New(rand.NewPCG(seed, 3)))
	r.closers = append(r.closers, cable.Close)
	r.nic, err = net.New(net.Config{Backend: cable, MTU: 1500, Log: log})
	must(t, err)
	r.sockets, err = vsock.New(vsock.Config{CID: 3, Log: log})
	must(t, err)
	r.closers = append(r.closers, r.sockets.Close)
	return []virtio.Device{disk, entropy, r.terminal, r.nic, r.sockets}
}

// close takes the machine apart within a time that only a hang exceeds.
func (r *rack) close(t testing.TB) {
	t.Helper()
	close(r.outside.stop)
	within(t, "close the machine", func() {
		must(t, r.Machine.Close())
		for i := len(r.closers) - 1; i >= 0; i-- {
			must(t, r.closers[i]())
		}
		r.outside.done.Wait()
	})
}

// within fails with all goroutines' stacks when do hangs.
func within(t testing.TB, what string, do func()) {
	t.Helper()
	hung := time.AfterFunc(time.Minute, func() {
		debug.SetTraceback("all")
		panic(what + " hangs")
	})
	defer hung.Stop()
	do()
}

// exit is the port by which a bare guest ends, when all its vCPUs have.
type exit struct {
	vm   *vmm.VM
	left atomic.Int32
}

var _ bus.Device = (*exit)(nil)

func newExit(vm *vmm.VM, vcpus int) *exit {
	e := &exit{vm: vm}
	e.left.Store(int32(vcpus))
	return e
}

func (*exit) Read(_ uint64, p []byte) { clear(p) }

func (e *exit) Write(_ uint64, p []byte) {
	if e.left.Add(-1) == 0 {
		e.vm.End(vmm.Outcome{End: vmm.Exited})
	}
}

type nothing struct{}

func (nothing) Read(_ uint64, p []byte) { clear(p) }
func (nothing) Write(uint64, []byte)    {}
