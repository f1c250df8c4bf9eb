package tap

import (
	"errors"
	"fmt"
	stdnet "net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure sets up the host's end as far as cfg asks for it.
func configure(name string, cfg Config) error {
	if cfg.MTU == 0 && !cfg.Address.IsValid() && !cfg.Up {
		return nil
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface: %w", err)
	}
	if cfg.MTU != 0 {
		if err := netlink.LinkSetMTU(link, cfg.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", cfg.MTU, err)
		}
	}
	if cfg.Address.IsValid() {
		addr := &netlink.Addr{IPNet: &stdnet.IPNet{IP: cfg.Address.Addr().AsSlice(), Mask: stdnet.CIDRMask(cfg.Address.Bits(), cfg.Address.Addr().BitLen())}}
		if err := netlink.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add address %v: %w", cfg.Address, err)
		}
	}
	if cfg.Up {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return nil
}

// MTU is the interface's current one.
func (t *Tap) MTU() (int, error) {
	link, err := netlink.LinkByName(t.name)
	if err != nil {
		return 0, fmt.Errorf("tap %s: find interface: %w", t.name, err)
	}
	return link.Attrs().MTU, nil
}
