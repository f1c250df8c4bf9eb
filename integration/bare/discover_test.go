package bare

import (
	"encoding/binary"

	"splitvm/guest/layout"
	"splitvm/vmm/bus"
)

// device is a PCI function as a driver finds it.
type device struct {
	slot    int
	bars    [6]uint64 // addresses
	sizes   [6]uint64
	msix    int // offset of the MSI-X capability; 0: none
	access  int // offset of virtio's configuration access capability; 0: none
	common  uint64
	notify  uint64
	config  uint64
	virtio  uint16 // device type
	vectors int
}

// discover looks at bus 0 as a guest does.
func discover(mmio *bus.Bus) []device {
	var found []device
	for slot := range 32 {
		d := device{slot: slot}
		id := d.register(mmio, 0, 4)
		if id == 0xffffffff {
			continue
		}
		if id&0xffff == 0x1af4 {
			d.virtio = uint16(id>>16) - 0x1040
		}
		d.findBARs(mmio)
		d.findCapabilities(mmio)
		found = append(found, d)
	}
	return found
}

func (d *device) ecam(reg int) uint64 {
	return uint64(layout.ECAMStart) + uint64(d.slot)<<15 + uint64(reg)
}

func (d *device) register(mmio *bus.Bus, reg, width int) uint64 {
	var p [8]byte
	mmio.Read(d.ecam(reg), p[:width])
	return binary.LittleEndian.Uint64(p[:])
}

func (d *device) set(mmio *bus.Bus, reg int, v uint32) {
	mmio.Write(d.ecam(reg), binary.LittleEndian.AppendUint32(nil, v))
}

const regBAR0 = 0x10

func (d *device) findBARs(mmio *bus.Bus) {
	for i := 0; i < 6; i++ {
		reg := regBAR0 + 4*i
		was := uint32(d.register(mmio, reg, 4))
		d.set(mmio, reg, 0xffffffff)
		mask := uint32(d.register(mmio, reg, 4)) &^ 0xf
		d.set(mmio, reg, was)
		if mask == 0 {
			continue
		}
		d.bars[i], d.sizes[i] = uint64(was&^0xf), uint64(^mask)+1
		if was>>1&3 == 2 { // 64 bits
			d.bars[i] |= d.register(mmio, reg+4, 4) << 32
			i++
		}
	}
}

func (d *device) findCapabilities(mmio *bus.Bus) {
	for at := int(d.register(mmio, 0x34, 1)); at != 0; at = int(d.register(mmio, at+1, 1)) {
		switch d.register(mmio, at, 1) {
		case 0x11:
			d.msix, d.vectors = at, int(d.register(mmio, at+2, 2)&0x7ff)+1
		case 0x09:
			place := d.bars[d.register(mmio, at+4, 1)%6] + d.register(mmio, at+8, 4)
			switch d.register(mmio, at+3, 1) {
			case 1:
				d.common = place
			case 2:
				d.notify = place
			case 4:
				d.config = place
			case 5:
				d.access = at
			}
		}
	}
}
