package rawfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/block/rawfile"
)

// loop makes a block device of a file, gone after the test.
func loop(t *testing.T, path string) string {
	t.Helper()
	const remedy = "run as root where /dev/loop-control is (modprobe loop)"
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop devices (%v): %s", err, remedy)
	}
	defer control.Close()
	back, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	for range 20 { // others look for a free one as well
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Skipf("no free loop device (%v): %s", err, remedy)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Skipf("%v: %s", err, remedy)
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &unix.LoopConfig{Fd: uint32(back.Fd()), Size: 512})
		if errors.Is(err, unix.EBUSY) {
			dev.Close()
			continue
		}
		if err != nil {
			dev.Close()
			t.Skipf("configure %s: %v: %s", name, err, remedy)
		}
		t.Cleanup(func() {
			if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
				t.Error(err)
			}
			dev.Close()
		})
		return name
	}
	t.Fatal("every free loop device was taken by somebody else")
	return ""
}

func TestBlockDevice(t *testing.T) {
	modes(t, func(t *testing.T, c rawfile.Config) {
		path, model := image(t)
		c.Path = loop(t, path)
		backend := open(t, c)
		if info := backend.Info(); info.Size != diskSize || info.BlockSize != 512 {
			t.Errorf("info of a device of %d bytes: %+v", diskSize, info)
		}
		d := startOn(t, backend)
		randomRequests(t, d, model)
		before := blocks(t, path)
		d.must("discard", d.send(discard, 0, segment(0, 2<<20/512, 0)), ok)
		if got, status := d.read(0, 4096); status != ok || !bytes.Equal(got, make([]byte, 4096)) {
			t.Errorf("a discarded block of a loop device: status %d, or not zeroes", status)
		}
		if after := blocks(t, path); after > before-(1<<20)/512 {
			t.Errorf("BLKDISCARD freed nothing: %d blocks before, %d after", before, after)
		}
	})
}

// TestDeviceInUse: a device that something else has opened for itself, as a
// mounted one is, is refused.
func TestDeviceInUse(t *testing.T) {
	path, _ := image(t)
	name := loop(t, path)
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := rawfile.Open(rawfile.Config{Path: name}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("device that is in use: %v", err)
	}
	open(t, rawfile.Config{Path: name, ReadOnly: true})
}
