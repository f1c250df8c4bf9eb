package cmdline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads the kernel's command line, as in /proc/cmdline. Where several
// words are wrong it tells all of them; what it understood is in the Config
// all the same, so that a guest can still report the error.
func Parse(line string) (Config, error) {
	var c Config
	var errs []error
	words := split(line)
	for i, w := range words {
		if w == "--" {
			c.InitArgs = words[i+1:]
			break
		}
		name, value, _ := strings.Cut(w, "=")
		if err := c.take(strings.ReplaceAll(name, "-", "_"), value); err != nil {
			errs = append(errs, err)
		}
	}
	if len(c.InitArgs) == 0 {
		c.InitArgs = nil
	}
	return c, errors.Join(errs...)
}

// take applies one word. Dashes of its name have been made underscores, which
// the kernel takes for the same.
func (c *Config) take(name, value string) (err error) {
	switch name {
	case wordRoot, wordFSType, wordRootFlags, wordReadOnly, wordReadWrite, wordRootWait, wordOverlay:
		return c.Root.take(name, value)
	case wordLinuxIP:
		return c.takeLinuxIP(value)
	case wordIP:
		l, err := parseLink(value)
		if err != nil {
			return err
		}
		c.Links = append(c.Links, l)
	case wordMount:
		m, err := parseMount(value)
		if err != nil {
			return err
		}
		c.Mounts = append(c.Mounts, m)
	case wordHostname:
		c.Hostname = value
	case wordCommand:
		c.Command, err = parseCommandWord(value)
	case wordInit:
		c.Init = value
	case wordDebug:
		c.Debug = true
	}
	return err
}

func (r *Root) take(name, value string) (err error) {
	switch name {
	case wordRoot:
		r.Device, err = ParseDevice(value)
	case wordFSType:
		r.FSType = value
	case wordRootFlags:
		r.Flags = value
	case wordReadOnly:
		r.ReadOnly = true
	case wordReadWrite:
		r.ReadOnly = false
	case wordRootWait:
		return r.takeWait(value)
	case wordOverlay:
		return r.takeOverlay(value)
	}
	return err
}

func (r *Root) takeOverlay(value string) error {
	kind, size, _ := strings.Cut(value, ":")
	d, err := ParseDevice(value)
	switch {
	case kind == overlayTmpfs && !strings.Contains(size, ","):
		r.Overlay, r.OverlaySize, r.OverlayDevice = true, size, Device{}
	case err == nil && d.Kind != NoDevice:
		r.Overlay, r.OverlaySize, r.OverlayDevice = true, "", d
	default:
		return fmt.Errorf("%s=%s: give tmpfs, tmpfs:SIZE or a device as of root=", wordOverlay, value)
	}
	return nil
}

func (r *Root) takeWait(value string) error {
	if value == "" {
		return nil // Linux's own rootwait waits for ever; ours has a bound
	}
	seconds, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return fmt.Errorf("%s=%s: not a number of seconds up to 65535", wordRootWait, value)
	}
	r.Wait = time.Duration(seconds) * time.Second
	return nil
}
