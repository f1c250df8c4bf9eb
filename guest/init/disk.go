//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/superblock"
)

// disk is the block device that the root is on.
type disk struct {
	path string          // below /dev
	info superblock.Info // zero Type: not a file system that is known
}

const diskPoll = 5 * time.Millisecond

// waitForDisk waits for the device that d names. Its error tells which disks
// there are instead.
func waitForDisk(d cmdline.Device, wait time.Duration) (disk, error) {
	deadline := time.Now().Add(wait)
	for {
		found, err := findDisk(d)
		if err == nil {
			return found, nil
		}
		if time.Now().After(deadline) {
			return disk{}, fmt.Errorf("root device %v did not appear within %v: %w; disks here: %s", d, wait, err, describeDisks())
		}
		time.Sleep(diskPoll)
	}
}

var errNoSuchDisk = errors.New("no disk is it")

func findDisk(d cmdline.Device) (disk, error) {
	if d.Kind == cmdline.ByPath {
		return readDisk(d.Name)
	}
	for _, name := range blockDevices() {
		if d.Kind == cmdline.BySerial {
			if serialNumber(name) == d.Name {
				return readDisk("/dev/" + name)
			}
			continue
		}
		found, err := readDisk("/dev/" + name)
		if err != nil {
			continue // one with no medium, say; another may be the one
		}
		if (d.Kind == cmdline.ByLabel && found.info.Label == d.Name) || (d.Kind == cmdline.ByUUID && found.info.UUID == d.Name) {
			return found, nil
		}
	}
	return disk{}, errNoSuchDisk
}

// readDisk reads the superblock of the device.
func readDisk(path string) (disk, error) {
	f, err := os.Open(path)
	if err != nil {
		return disk{}, err
	}
	defer f.Close()
	header := make([]byte, superblock.HeaderLen)
	n, err := io.ReadFull(f, header)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return disk{}, fmt.Errorf("read %s: %w", path, err)
	}
	info, _ := superblock.Detect(header[:n])
	return disk{path: path, info: info}, nil
}

// blockDevices gives the names of all disks and partitions, sorted.
func blockDevices() []string {
	entries, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return nil // no block layer: no disks
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// serialNumber is the serial number of a disk that has one.
func serialNumber(name string) string {
	data, err := os.ReadFile(filepath.Join("/sys/class/block", name, "serial"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// describeDisks lists the disks for an error.
func describeDisks() string {
	var list []string
	for _, name := range blockDevices() {
		d, err := readDisk("/dev/" + name)
		if err != nil {
			continue
		}
		text := d.path
		for _, s := range []struct{ label, value string }{
			{"", d.info.Type}, {"LABEL=", d.info.Label}, {"UUID=", d.info.UUID}, {"SERIAL=", serialNumber(name)},
		} {
			if s.value != "" {
				text += " " + s.label + s.value
			}
		}
		list = append(list, text)
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
