// Package volume holds the black-box tests of a guest's disk at storage monitors:
// the virtio device, the client and real monitors, without a guest's kernel.
package volume
