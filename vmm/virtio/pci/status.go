package pci

import (
	"errors"
	"fmt"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// readStatus is the device_status register. Caller holds mu.
func (t *Transport) readStatus() uint8 {
	if t.needsReset.Load() {
		return t.status | statusNeedsReset
	}
	return t.status
}

// writeStatus is a write of device_status: 0 resets, other values add bits
// (virtio 1.2, 2.1.1: a driver must not clear any). Caller holds mu.
func (t *Transport) writeStatus(v uint8) {
	if v == 0 {
		t.reset()
		return
	}
	if t.phase == stopping {
		return
	}
	added := v &^ t.status &^ statusNeedsReset
	if added&statusFeaturesOK != 0 && !t.acceptable() {
		added &^= statusFeaturesOK // the driver reads it back (3.1.1, step 6)
	}
	t.status |= added
	if added&statusDriverOK != 0 && t.phase == idle {
		t.start()
	}
}

// acceptable tells whether the device can do what the driver accepted.
func (t *Transport) acceptable() bool {
	return t.driver&^t.offered == 0 && t.driver.Has(virtio.FeatureVersion1)
}

// start activates the device. Caller holds mu.
func (t *Transport) start() {
	err := t.activate()
	if err != nil {
		t.fail(fmt.Errorf("start: %w", err))
		return
	}
	t.phase = active
}

func (t *Transport) activate() error {
	if t.status&statusFeaturesOK == 0 {
		return errors.New("the driver set DRIVER_OK without FEATURES_OK")
	}
	if !t.master {
		return errors.New("the driver set DRIVER_OK with PCI bus mastering off")
	}
	a := virtio.Activation{
		Features:      t.driver,
		Memory:        t.mem,
		Queues:        make([]*virtio.Queue, len(t.queues)),
		ConfigChanged: t.configChanged,
		Fail:          t.fail,
	}
	for i := range t.queues {
		q := &t.queues[i]
		if !q.enabled {
			continue
		}
		ring, err := virtq.New(t.mem, virtq.Config{
			Size:     q.size,
			Desc:     layout.GPA(q.areas[0]),
			Driver:   layout.GPA(q.areas[1]),
			Device:   layout.GPA(q.areas[2]),
			Packed:   t.driver.Has(virtio.FeatureRingPacked),
			EventIdx: t.driver.Has(virtio.FeatureEventIdx),
			Indirect: t.driver.Has(virtio.FeatureIndirectDesc),
		})
		if err != nil {
			return fmt.Errorf("queue %d: %w", i, err)
		}
		a.Queues[i] = virtio.NewQueue(ring, q.kick, func() { t.interrupt(&q.vector, isrQueue) })
	}
	return t.dev.Activate(a)
}

// reset puts everything back to the beginning; that of a running device takes
// its time, and the driver sees a status other than 0 meanwhile. Caller holds
// mu.
func (t *Transport) reset() {
	if t.phase == idle {
		t.clear()
		return
	}
	t.clearAfter = true
	t.stop()
}

// stop has an active device stopped by a goroutine. Caller holds mu.
func (t *Transport) stop() {
	if t.phase != active {
		return
	}
	t.phase = stopping
	t.stopped.Go(func() {
		t.dev.Reset()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.phase = idle
		if t.clearAfter {
			t.clear()
		}
	})
}

// setMaster follows the bus master enable bit. A running device that may no
// longer touch memory stops at once and needs a reset: a kernel that is about
// to hand the machine to another one clears the bit to be sure of that.
func (t *Transport) setMaster(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.master = on
	if !on && t.phase == active {
		t.needsReset.Store(true)
		t.stop()
	}
}

// fail is Activation.Fail.
func (t *Transport) fail(err error) {
	if t.needsReset.Swap(true) {
		return
	}
	t.log.Warn("virtio device stopped until its driver resets it", "error", err)
	t.configChanged()
}

// Bits of the ISR status (virtio 1.2, 4.1.4.5).
const (
	isrQueue  = 1
	isrConfig = 2
)

func (t *Transport) configChanged() { t.interrupt(&t.configVector, isrConfig) }
