//go:build linux && amd64

package main

import (
	"fmt"
	"time"

	"splitvm/guest/init/cmdline"
)

// findMounts finds the disks of the further file systems and loads what these
// need, as long as the modules are there: the initramfs has them.
func findMounts(cfg cmdline.Config, l *loader, wait time.Duration) ([]disk, error) {
	var disks []disk
	for _, m := range cfg.Mounts {
		d, err := waitForDisk(m.Device, wait)
		if err != nil {
			return nil, fmt.Errorf("mount on %s: %w", m.Path, err)
		}
		fstype := m.FSType
		if fstype == "" {
			fstype = d.info.Type
		}
		l.loadFor("fs-" + fstype)
		disks = append(disks, d)
	}
	return disks, nil
}

// mountFurther mounts the disks where cfg says, in the root that is / by now, so
// that links on the way lead where they do for the command.
func mountFurther(cfg cmdline.Config, disks []disk, l *loader) error {
	for i, m := range cfg.Mounts {
		how := cmdline.Root{FSType: m.FSType, ReadOnly: m.ReadOnly}
		if err := mountDisk(how, disks[i], l, m.Path); err != nil {
			return fmt.Errorf("mount on %s: %w", m.Path, err)
		}
	}
	return nil
}
