// Package console is the virtio console device (virtio 1.2, 5.3): a terminal,
// and ports with names, which a guest has as /dev/hvc0 and /dev/vportNpM.
//
// Two forms. A device with one console port that has no name has no control
// queues, and its window size is in the device configuration. Every other has
// VIRTIO_CONSOLE_F_MULTIPORT: ports are announced, named, opened and resized
// by control messages. Prefer the first for the user's terminal: Linux read
// the two fields of the RESIZE message in the wrong order until commit
// 5326ab737a47 (2025), and a device can't know which kernel it talks to.
//
// What a guest sends is copied into a buffer per port, which a goroutine
// writes to the port's Output. Nothing is lost: with the buffer full the
// driver's chain stays where it is until there is room. Writing straight from
// guest memory would save the copy, but a write that blocks (a terminal after
// ^S, a full pipe) can't be taken back, and Reset must not wait for it. What
// the driver made available before a Reset and fits the buffer is still
// taken: a guest may write its last line and power off at once.
//
// What the host sends waits until the guest has the port open and has buffers
// for it. In the form without control queues nobody says that the port is
// open; the driver gets settleTime to be ready.
//
// It isn't a terminal emulator: raw mode, escape keys and the like are the
// business of whoever owns Output and Input.
//
// Locks: Device.mu, then control.mu, then inbox.mu or outbox.mu. None is held
// while Output or Opened is called.
package console
