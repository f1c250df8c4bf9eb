package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// Commands (virtio 1.2, 5.1.6.5): class << 8 | command.
const (
	cmdPromiscuous = 0<<8 | 0
	cmdAllMulti    = 0<<8 | 1
	cmdTableSet    = 1<<8 | 0
	cmdAddressSet  = 1<<8 | 1
	cmdPairsSet    = 4<<8 | 0
	cmdOffloadsSet = 5<<8 | 0
)

const (
	ackOK  = 0
	ackErr = 1
)

// maxCommand bounds what is read of a command: some 2,700 addresses.
const maxCommand = 16 << 10

var errCommand = errors.New("bad command")

// driver is what the driver has told of itself: its address and what frames
// it wants. It is pure.
type driver struct {
	mac      MAC
	all      bool // promiscuous, the state after reset
	allMulti bool
	tooMany  bool // addresses to keep a list of
	unicast  []MAC
	multi    []MAC
}

func newDriver(mac MAC) driver { return driver{mac: mac, all: true} }

func (d *driver) filter() Filter {
	return Filter{All: d.all || d.tooMany, AllMulticast: d.allMulti, Unicast: append([]MAC{d.mac}, d.unicast...), Multicast: slices.Clone(d.multi)}
}

// set is one of the commands about reception.
func (d *driver) set(command uint16, p []byte) error {
	switch {
	case command == cmdTableSet:
		return d.setTables(p)
	case command == cmdAddressSet && len(p) == len(d.mac) && p[0]&1 == 0:
		d.mac = MAC(p)
	case command == cmdPromiscuous && len(p) == 1:
		d.all = p[0] != 0
	case command == cmdAllMulti && len(p) == 1:
		d.allMulti = p[0] != 0
	default:
		return fmt.Errorf("%w %#x of %d bytes", errCommand, command, len(p))
	}
	return nil
}

// setTables takes the unicast and the multicast table, each a count and that
// many addresses.
func (d *driver) setTables(p []byte) error {
	unicast, p, err := table(p)
	if err != nil {
		return err
	}
	multi, p, err := table(p)
	if err != nil {
		return err
	}
	if len(p) > 0 {
		return fmt.Errorf("%w: %d bytes after the address tables", errCommand, len(p))
	}
	d.unicast, d.multi, d.tooMany = unicast, multi, false
	return nil
}

func table(p []byte) ([]MAC, []byte, error) {
	if len(p) < 4 {
		return nil, nil, fmt.Errorf("%w: an address table without a count", errCommand)
	}
	n := uint64(binary.LittleEndian.Uint32(p))
	p = p[4:]
	if n > uint64(len(p)/len(MAC{})) {
		return nil, nil, fmt.Errorf("%w: %d addresses in %d bytes", errCommand, n, len(p))
	}
	var macs []MAC
	for ; n > 0; n-- {
		macs, p = append(macs, MAC(p)), p[len(MAC{}):]
	}
	return macs, p, nil
}

// controlQueue serves the driver's commands.
type controlQueue struct {
	run   *running
	queue *virtio.Queue
	chain virtq.Chain
	buf   [maxCommand]byte
}

func (c *controlQueue) serve() error {
	defer c.queue.Notify()
	for {
		if got, err := c.queue.Pop(&c.chain); !got || err != nil {
			return err
		}
		if err := c.one(); err != nil {
			return err
		}
	}
}

// one obeys a command and acknowledges it. Its errors are about the request's
// memory; a command that makes no sense is only refused.
func (c *controlQueue) one() error {
	n := c.chain.ReadableLen()
	p := c.buf[:min(n, maxCommand)]
	if err := c.read(p); err != nil {
		return fmt.Errorf("control command: %w", err)
	}
	ack := byte(ackOK)
	if err := c.run.obey(p, n > maxCommand); err != nil {
		ack = ackErr
		c.run.dev.log.Debug("network device: command refused", "err", err)
	}
	if err := c.chain.Store(0, []byte{ack}); err != nil {
		return fmt.Errorf("control acknowledgement: %w", err)
	}
	c.queue.Push(&c.chain, 1)
	return nil
}

func (c *controlQueue) read(p []byte) error {
	for _, s := range c.chain.Readable {
		k := min(len(p), int(s.Len))
		if err := c.run.Memory.ReadAt(p[:k], s.GPA); err != nil {
			return err
		}
		p = p[k:]
	}
	return nil
}

// obey does what a command says; cut tells that p is only its beginning.
func (r *running) obey(p []byte, cut bool) error {
	if len(p) < 2 {
		return fmt.Errorf("%w of %d bytes", errCommand, len(p))
	}
	command, p := uint16(p[0])<<8|uint16(p[1]), p[2:]
	switch {
	case command == cmdPairsSet && len(p) == 2 && r.Features.Has(featureMultiqueue):
		n := int(binary.LittleEndian.Uint16(p))
		if n < 1 || n > len(r.dev.queues) {
			return fmt.Errorf("%w: %d queue pairs of %d", errCommand, n, len(r.dev.queues))
		}
		return r.usePairs(n)
	case command == cmdOffloadsSet && len(p) == 8 && r.Features.Has(featureGuestOffloads):
		return r.setOffloads(virtio.Features(binary.LittleEndian.Uint64(p)))
	case command == cmdTableSet && cut:
		r.driver.tooMany = true
		return r.usePairs(len(r.pairs))
	}
	old := r.driver
	if err := r.driver.set(command, p); err != nil {
		return err
	}
	err := r.usePairs(len(r.pairs))
	if err != nil {
		r.driver = old
	}
	return err
}

// setOffloads takes the features that are in force now of those negotiated.
func (r *running) setOffloads(f virtio.Features) error {
	if !accepted(r.Features).Has(accepted(f)) {
		return fmt.Errorf("%w: offloads %#x were not negotiated", errCommand, uint64(f))
	}
	old := r.want.Accept
	r.want.Accept = accepted(f)
	err := r.usePairs(len(r.pairs))
	if err != nil {
		r.want.Accept = old
	}
	return err
}
