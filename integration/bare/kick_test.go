package bare

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"splitvm/guest/bare"
	"splitvm/guest/boot"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm"
	"splitvm/vmm/bus"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
	"splitvm/vmm/pc"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/rng"
)

// BenchmarkKick is the time of a request of four random bytes, doorbell to used
// index, while other vCPUs spin in the guest or exit to the VMM all the time:
// a device's worker must not wait for a vCPU's thread.
func BenchmarkKick(b *testing.B) {
	sys := require.System(b)
	for _, procs := range []int{runtime.NumCPU(), runtime.NumCPU() + 8} {
		for _, others := range []struct {
			vcpus int
			flags uint64
			do    string
		}{{0, 0, "alone"}, {1, bare.FlagSpin, "spin"}, {3, bare.FlagSpin, "spin"}, {1, bare.FlagExits, "exit"}, {3, bare.FlagExits, "exit"}} {
			b.Run(fmt.Sprintf("%s=%d/GOMAXPROCS=%d", others.do, others.vcpus, procs), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				h, cycles := kicks(b, sys, uint64(b.N), others.vcpus, others.flags)
				us := func(q float64) float64 { return h.Quantile(q) / cycles * 1e6 }
				b.ReportMetric(us(0.5), "p50-us")
				b.ReportMetric(us(0.99), "p99-us")
				b.ReportMetric(us(0.999), "p99.9-us")
			})
		}
	}
}

// kicks runs n requests on vCPU 0 beside others.
func kicks(b *testing.B, sys *kvm.System, n uint64, others int, flags uint64) (h bare.Histogram, cycles float64) {
	ram, err := layout.New(ramSize)
	must(b, err)
	m, err := memory.NewLocal(ram.RAM())
	must(b, err)
	defer m.Close()
	image, params := bare.ELF(bare.Kick), boot.BareParams{Memory: ram}
	for i := range 1 + others {
		params.VCPUs = append(params.VCPUs, boot.BareArgs{RDI: bare.BlockAt(i)})
	}
	plan, err := boot.LoadBare(bytes.NewReader(image), int64(len(image)), params)
	must(b, err)
	entropy, err := rng.New(rng.Config{})
	must(b, err)
	machine, err := pc.New(pc.Config{
		System: sys, Map: ram, Memory: m, VCPUs: 1 + others, Plan: plan, Devices: []virtio.Device{entropy},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	must(b, err)
	defer machine.Close()
	begin, end := &stamp{}, &stamp{then: newExit(machine.VM, 1)}
	must(b, machine.VM.Ports.Add(bare.PortMark, 4, begin))
	must(b, machine.VM.Ports.Add(bare.PortExit, 4, end))
	doorbell := prepareRing(b, machine, m)
	for i := range 1 + others {
		block := bare.Block{Params: bare.Params{Flags: flags}}
		if i == 0 {
			block.Params = bare.Params{
				Seed: 1, Start: ringsAt + driverArea + 2, Used: ringsAt + deviceArea + 2, Doorbell: doorbell,
				Warm: 100, Accesses: n, Histogram: bare.HistogramFor(0),
			}
		}
		must(b, m.WriteAt(block.Bytes(), layout.GPA(bare.BlockAt(i))))
	}
	if o := machine.Run(b.Context()); o.End != vmm.Exited {
		b.Fatal(o)
	}
	var block bare.Block
	must(b, m.ReadAt(block.Bytes(), layout.GPA(bare.BlockAt(0))))
	must(b, m.ReadAt(h.Bytes(), layout.GPA(bare.HistogramFor(0))))
	return h, float64(block.Result.End-block.Result.Begin) / end.at.Sub(begin.at).Seconds()
}

// stamp is a port that keeps when it was written.
type stamp struct {
	nothing
	at   time.Time
	then bus.Device // may be nil
}

func (s *stamp) Write(off uint64, p []byte) {
	s.at = time.Now()
	if s.then != nil {
		s.then.Write(off, p)
	}
}

// prepareRing sets the machine's first device up as a driver does, with one
// request of four bytes in all entries of queue 0, and returns its doorbell.
func prepareRing(b *testing.B, machine *pc.Machine, m *memory.Memory) uint64 {
	mmio := &machine.VM.MMIO
	d := discover(mmio)[1] // after the host bridge
	store := func(width int, at, v uint64) {
		mmio.Write(at, binary.LittleEndian.AppendUint64(nil, v)[:width])
	}
	store(2, d.ecam(4), 6)
	store(1, d.common+regStatus, 3)
	store(4, d.common+regDriverSelect, 1)
	store(4, d.common+regDriverBits, 1)
	store(1, d.common+regStatus, 11)
	store(2, d.common+regQueueSize, 1)
	for i, reg := range []uint64{regQueueDesc, regQueueDriver, regQueueDevice} {
		store(8, d.common+reg, ringsAt+[]uint64{0, driverArea, deviceArea}[i])
	}
	store(2, d.common+regQueueEnable, 1)
	must(b, m.Store64(ringsAt, ringsAt+buffersAt))
	must(b, m.Store64(ringsAt+8, 4|flagWrite<<32))
	must(b, m.Store16(ringsAt+driverArea, 1)) // no interrupts
	store(1, d.common+regStatus, 15)
	return d.notify
}
