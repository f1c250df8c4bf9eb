// Package pc is the machine that a Linux guest boots on: a VM with the fixed
// hardware of a PC (ACPI power management, CMOS clock, serial port, reset), a
// PCI bus and virtio devices on it. It knows nothing of where RAM, disks and
// consoles come from: those are given.
//
// A machine's life: New makes it whole and loads the guest, Run runs it once,
// Close takes it apart. Close first stops the bus (no doorbell rings any
// more), then the devices (no worker touches guest memory any more), then the
// VM.
package pc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"splitvm/guest/acpi"
	"splitvm/guest/boot"
	"splitvm/guest/layout"
	"splitvm/guest/mptable"
	"splitvm/vmm"
	"splitvm/vmm/bus"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
	"splitvm/vmm/pci"
	"splitvm/vmm/serial"
	"splitvm/vmm/virtio"
	virtiopci "splitvm/vmm/virtio/pci"
)

// Config says what a machine is made of. Devices and Memory stay the caller's
// and outlive the machine.
type Config struct {
	System  *kvm.System
	Map     layout.Map
	Memory  *memory.Memory // of Map.RAM(), all zero
	VCPUs   int
	CPUID   func(index int) []gokvm.CPUIDEntry2
	Plan    *boot.Plan      // what to load and where vCPU 0 starts
	Devices []virtio.Device // in the order of their PCI device numbers, from 1
	Packed  bool            // offer packed virtqueues
	Serial  io.Writer       // output of COM1; nil discards it
	Log     *slog.Logger    // nil: slog.Default()
}

// Machine is a PC.
type Machine struct {
	VM     *vmm.VM
	Serial *serial.UART

	cfg        Config
	host       *pci.Host
	events     *pmEvents
	transports []*virtiopci.Transport
}

// New makes a machine and loads its guest. Nothing runs yet.
func New(cfg Config) (*Machine, error) {
	m := &Machine{cfg: cfg}
	vm, err := vmm.New(vmm.Config{
		System: cfg.System, Memory: cfg.Memory, VCPUs: cfg.VCPUs, CPUID: cfg.CPUID, IRQChip: true, Start: m.start, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	m.VM = vm
	if err := m.build(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Machine) build() error {
	if err := m.fixed(); err != nil {
		return fmt.Errorf("make machine: %w", err)
	}
	if err := m.bus(); err != nil {
		return fmt.Errorf("make machine: %w", err)
	}
	if err := m.tables(); err != nil {
		return fmt.Errorf("make machine: %w", err)
	}
	return m.cfg.Plan.Place(m.cfg.Memory)
}

// tables tells the guest what there is: by ACPI, and by an MP table for those
// that will have none of that.
func (m *Machine) tables() error {
	b, err := acpi.Tables(acpi.Config{CPUs: m.cfg.VCPUs, PowerButton: true})
	if err != nil {
		return err
	}
	mp, err := mptable.Table(m.cfg.VCPUs)
	if err != nil {
		return err
	}
	return errors.Join(m.cfg.Memory.WriteAt(b, RSDP), m.cfg.Memory.WriteAt(mp, layout.MPTable))
}

// RSDP is where the ACPI tables begin, with their root pointer; boot plans
// tell it to the guest.
const RSDP = layout.ACPITables

// start sets what firmware sets on every vCPU, and puts those into their entry
// state that have one; the others wait for their start-up IPI.
func (m *Machine) start(index int, v *kvm.VCPU) error {
	for _, r := range boot.LinuxMSRs() {
		if err := v.SetMSRs(kvm.MSR{Index: r.Index, Value: r.Value}); err != nil {
			return err
		}
	}
	if index >= len(m.cfg.Plan.Entries) {
		return nil
	}
	if err := v.SetMPState(gokvm.MPStateRunnable); err != nil {
		return err
	}
	return vmm.Enter(v, m.cfg.Plan.Entries[index])
}

// fixed adds the hardware with fixed ports.
func (m *Machine) fixed() error {
	u, err := serial.New(serial.Config{
		Output:  m.cfg.Serial,
		SetLine: func(high bool) { m.line(layout.IRQCOM1, high) },
	})
	if err != nil {
		return err
	}
	m.Serial = u
	m.events = &pmEvents{setSCI: func(high bool) { m.line(layout.IRQSCI, high) }}
	for _, d := range []struct {
		port, size uint64
		dev        bus.Device
	}{
		{layout.PortCOM1, serial.Ports, u},
		{layout.PortPM1aEvent, 4, m.events},
		{layout.PortPM1aControl, 2, &pmControl{powerOff: m.ender(vmm.PowerOff)}},
		{layout.PortPMTimer, 4, &pmTimer{start: time.Now()}},
		{layout.PortCMOS, 2, newCMOS(time.Now)},
		{portKeyboard, 1, keyboard{reset: m.ender(vmm.Reset)}},
		{portPOST, 1, ignored{}},
		{portDelay, 1, ignored{}},
	} {
		if err := m.VM.Ports.Add(d.port, d.size, d.dev); err != nil {
			return err
		}
	}
	return nil
}

// Ports that old code writes to.
const (
	portKeyboard = 0x64
	portPOST     = 0x80
	portDelay    = 0xed
	portPCI      = 0xcf8
	portPCISize  = 8
)

// bus adds PCI and the virtio devices.
func (m *Machine) bus() error {
	host, err := pci.NewHost(pci.Config{
		MMIO: &m.VM.MMIO, Doorbells: doorbells{m.VM.KVM()},
		Windows: []layout.Range{{Start: layout.PCIWindowStart, Size: layout.PCIWindowSize}},
		Reset:   resetRegister{reset: m.ender(vmm.Reset)}, Log: m.cfg.Log,
	})
	if err != nil {
		return err
	}
	m.host = host
	if err := m.VM.Ports.Add(portPCI, portPCISize, host.Ports()); err != nil {
		return err
	}
	if err := m.VM.MMIO.Add(uint64(layout.ECAMStart), layout.ECAMSize, host.ECAM()); err != nil {
		return err
	}
	for _, d := range m.cfg.Devices {
		t, err := virtiopci.New(d, virtiopci.Config{Memory: m.cfg.Memory, Messages: messages{m.VM}, Packed: m.cfg.Packed, Log: m.cfg.Log})
		if err != nil {
			return err
		}
		m.transports = append(m.transports, t)
		if _, err := host.Plug(t.Function()); err != nil {
			return err
		}
	}
	return nil
}

// Run runs the guest to its end; see vmm.VM.Run.
func (m *Machine) Run(ctx context.Context) vmm.Outcome { return m.VM.Run(ctx) }

// PressPowerButton asks the guest to shut down, as a person would. A guest
// without an ACPI driver or a daemon that acts on it goes on.
func (m *Machine) PressPowerButton() { m.events.press() }

// Close takes the machine apart; a guest that still runs is stopped first.
func (m *Machine) Close() error {
	m.VM.Stop()
	if m.host != nil {
		m.host.Close()
	}
	for _, t := range m.transports {
		t.Close()
	}
	var errs []error
	if m.Serial != nil {
		errs = append(errs, m.Serial.Close())
	}
	return errors.Join(append(errs, m.VM.Close())...)
}

// ender is a device's way to end the guest.
func (m *Machine) ender(e vmm.End) func() {
	return func() { m.VM.End(vmm.Outcome{End: e}) }
}

func (m *Machine) line(gsi uint32, high bool) {
	if err := m.VM.KVM().SetLine(gsi, high); err != nil {
		m.VM.End(vmm.Outcome{End: vmm.Failed, Err: err})
	}
}
