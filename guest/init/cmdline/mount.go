package cmdline

import (
	"fmt"
	"path"
	"strings"
)

// Mount says which further file system is mounted, and where.
type Mount struct {
	Device   Device
	Path     string // absolute; made where the root has no such directory
	FSType   string // empty: what the superblock tells
	ReadOnly bool
}

// check tells what is wrong with m, if something is.
func (m Mount) check() error {
	switch d, err := ParseDevice(m.Device.String()); {
	case err != nil || d != m.Device || d.Kind == NoDevice || strings.Contains(d.Name, ","):
		return fmt.Errorf("mount on %s: the device %v can't be told", m.Path, m.Device)
	case path.Clean(m.Path) != m.Path || !path.IsAbs(m.Path) || m.Path == "/" || strings.ContainsAny(m.Path, ",\x00"):
		return fmt.Errorf("mount of %v: %q is no directory to mount on: give a clean, absolute path without commas", m.Device, m.Path)
	case strings.ContainsAny(m.FSType, ", \x00"):
		return fmt.Errorf("mount on %s: file system type %q", m.Path, m.FSType)
	}
	return nil
}

// word gives the word that tells m.
func (m Mount) word() (string, error) {
	if err := m.check(); err != nil {
		return "", err
	}
	w := wordMount + "=" + m.Device.String() + "," + m.Path
	if m.FSType != "" {
		w += ",type=" + m.FSType
	}
	if m.ReadOnly {
		w += ",ro"
	}
	return w, nil
}

// parseMount reads the value of a splitvm.mount= word.
func parseMount(value string) (m Mount, err error) {
	fields := strings.Split(value, ",")
	if len(fields) < 2 {
		return m, fmt.Errorf("%s=%s: give DEVICE,PATH", wordMount, value)
	}
	if m.Device, err = ParseDevice(fields[0]); err != nil {
		return m, fmt.Errorf("%s=%s: %w", wordMount, value, err)
	}
	m.Path = fields[1]
	for _, f := range fields[2:] {
		if fstype, ok := strings.CutPrefix(f, "type="); ok {
			m.FSType = fstype
		} else if f == "ro" {
			m.ReadOnly = true
		} else {
			return m, fmt.Errorf("%s=%s: unknown setting %q", wordMount, value, f)
		}
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("%s=%s: %w", wordMount, value, err)
	}
	return m, nil
}
