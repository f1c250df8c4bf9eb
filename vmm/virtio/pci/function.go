package pci

import (
	"encoding/binary"
	"fmt"

	"splitvm/vmm/pci"
	"splitvm/vmm/virtio"
)

// BAR registers: the MSI-X table in a 32-bit one, the rest in a 64-bit one.
const (
	barMSIX   = 1
	barVirtio = 4
)

const (
	vendorID      = 0x1af4
	firstDeviceID = 0x1040 // plus the virtio device type (virtio 1.2, 4.1.2)
	capVendor     = 0x09
)

// Vendor capability types (virtio 1.2, 4.1.4).
const (
	capCommon = 1
	capNotify = 2
	capISR    = 3
	capDevice = 4
	capPCI    = 5
)

// kinds names the device types and gives their PCI class codes.
var kinds = map[virtio.DeviceID]struct {
	name  string
	class uint32
}{
	virtio.IDNet:     {"net", 0x020000},
	virtio.IDBlock:   {"block", 0x010000},
	virtio.IDConsole: {"console", 0x078000},
	virtio.IDEntropy: {"rng", 0x00ff00},
	virtio.IDVsock:   {"vsock", 0x078000},
}

func name(id virtio.DeviceID) string {
	if k, ok := kinds[id]; ok {
		return k.name
	}
	return fmt.Sprintf("type-%d", id)
}

func (t *Transport) addFunction(from pci.Messages) error {
	class := uint32(0x00ff00)
	if k, ok := kinds[t.desc.ID]; ok {
		class = k.class
	}
	device := firstDeviceID + uint16(t.desc.ID)
	f := pci.NewFunction(pci.ID{
		Vendor: vendorID, Device: device, SubVendor: vendorID, SubDevice: device,
		Revision: 1, Class: class,
	})
	t.function = f
	var err error
	if t.msix, err = f.AddMSIX(barMSIX, len(t.queues)+1, from); err != nil {
		return err
	}
	bar := pci.BAR{Index: barVirtio, Size: barSize, Wide: true, Device: t}
	for i := range t.queues {
		bar.Bells = append(bar.Bells, pci.Bell{Offset: notifyStart + uint64(i)*notifyStep, Size: 2, FD: t.queues[i].kick.FD()})
	}
	if err := f.AddBAR(bar); err != nil {
		return err
	}
	f.OnBusMaster(t.setMaster)
	return t.addCapabilities(f)
}

func (t *Transport) addCapabilities(f *pci.Function) error {
	caps := []pci.Capability{
		capability(capCommon, commonStart, commonSize),
		capability(capISR, isrStart, 1),
		capability(capNotify, notifyStart, uint32(len(t.queues))*notifyStep, notifyStep),
		t.accessCapability(),
	}
	if n := len(t.config); n > 0 {
		caps = append(caps, capability(capDevice, configStart, uint32(n)))
	}
	for _, c := range caps {
		if err := f.AddCapability(c); err != nil {
			return err
		}
	}
	return nil
}

// capability is struct virtio_pci_cap from its third byte on, and the words
// that follow it.
func capability(kind uint8, offset, length uint32, more ...uint32) pci.Capability {
	body := make([]byte, 14, 18)
	body[0] = uint8(16 + 4*len(more))
	body[1] = kind
	body[2] = barVirtio
	binary.LittleEndian.PutUint32(body[6:], offset)
	binary.LittleEndian.PutUint32(body[10:], length)
	for _, w := range more {
		body = binary.LittleEndian.AppendUint32(body, w)
	}
	return pci.Capability{ID: capVendor, Body: body}
}

// accessData is where pci_cfg_data is in the access capability's body.
const accessData = 14

// accessCapability is the way into the BAR through the configuration space
// (virtio 1.2, 4.1.4.9): the driver writes bar, offset and length, and then
// reads or writes the four bytes of data.
func (t *Transport) accessCapability() pci.Capability {
	c := capability(capPCI, 0, 0, 0)
	c.Mask = make([]byte, len(c.Body))
	c.Mask[2] = 0xff
	for i := 6; i < len(c.Mask); i++ {
		c.Mask[i] = 0xff
	}
	c.BeforeRead = func(body []byte, off, n int) {
		if at, data, ok := accessed(body, off+n); ok {
			t.Read(at, data)
		}
	}
	c.AfterWrite = func(body []byte, off, n int) {
		if at, data, ok := accessed(body, off+n); ok {
			t.Write(at, data)
		}
	}
	return c
}

// accessed is the BAR access that the registers in body ask for, if the access
// to the configuration space reached its data. The length must be 1, 2 or 4,
// and the offset a multiple of it (4.1.4.9.2).
func accessed(body []byte, end int) (at uint64, data []byte, ok bool) {
	offset, n := binary.LittleEndian.Uint32(body[6:]), binary.LittleEndian.Uint32(body[10:])
	if end <= accessData || body[2] != barVirtio || n != 1 && n != 2 && n != 4 {
		return 0, nil, false
	}
	if offset%n != 0 || offset > barSize-n {
		return 0, nil, false
	}
	return uint64(offset), body[accessData : accessData+n], true
}
