//go:build amd64

package micro

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"time"

	"splitvm/ept/uffd"
	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/vmm/memory"
)

// floor is memory behind a userfaultfd whose faults another process serves with
// zero pages: what no pager can be faster than. It forgets what was written.
type floor struct {
	parts Parts
	model bool // a pager in miniature instead: see model
}

var _ Backend = floor{}

// Open makes the memory, registers the working set and starts the handler.
func (f floor) Open(ctx context.Context, c *Cell, ram layout.Map) (RAM, error) {
	m, err := memory.NewLocal(ram.RAM())
	if err != nil {
		return nil, err
	}
	r := &floorRAM{m: m, model: f.model}
	if err := r.serve(ctx, f.parts, c); err != nil {
		return nil, errors.Join(fmt.Errorf("userfaultfd floor: %w", err), r.Close())
	}
	return r, nil
}

// floorRAM is the guest's side.
type floorRAM struct {
	m       *memory.Memory
	model   bool
	faults  *uffd.File
	handler *exec.Cmd
	conn    *net.UnixConn
}

func (r *floorRAM) Memory() *memory.Memory { return r.m }

// stretch is memory whose faults are served: where the guest's process has it,
// and where it is in the memfd.
type stretch struct {
	Addr   uint64 `json:"addr"`
	Size   uint64 `json:"size"`
	Offset int64  `json:"offset"`
}

// floorSetup is the first message to the handler, with two descriptors: the
// memfd and the userfaultfd.
type floorSetup struct {
	Stretches []stretch `json:"stretches"`
	Lines     uint64    `json:"lines"` // that may be resident
	Model     bool      `json:"model"`
}

func (r *floorRAM) serve(ctx context.Context, parts Parts, c *Cell) error {
	var err error
	if r.faults, err = uffd.Open(); err != nil {
		return err
	}
	if err := r.faults.Handshake(uffd.FeaturesPager); err != nil {
		return err
	}
	setup := floorSetup{Lines: max(c.CacheLines(), 1), Model: r.model}
	if c.Cache >= 100 {
		setup.Lines = math.MaxUint64 / 2
	}
	var file *os.File
	for i, region := range r.m.Regions() {
		s := stretch{Addr: uint64(region.HostAddr()), Size: region.Size, Offset: region.Offset}
		if i == 0 { // not the program
			s.Addr, s.Size, s.Offset = s.Addr+bare.Memory, s.Size-bare.Memory, s.Offset+bare.Memory
		}
		if err := r.faults.Register(s.Addr, s.Size, uffd.RegisterMissing|uffd.RegisterMinor|uffd.RegisterWP); err != nil {
			return err
		}
		setup.Stretches = append(setup.Stretches, s)
		file = region.File
	}
	if r.handler, r.conn, err = startWithSocket(ctx, parts, roleFloor); err != nil {
		return err
	}
	return sendSetup(r.conn, setup, int(file.Fd()), r.faults.FD())
}

// patience is what a part has for an answer.
const patience = 30 * time.Second

// Misses asks the handler.
func (r *floorRAM) Misses() (uint64, error) {
	var b [8]byte
	if err := r.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := r.conn.Write(b[:1]); err != nil {
		return 0, fmt.Errorf("ask the floor's handler: %w", err)
	}
	if _, err := io.ReadFull(r.conn, b[:]); err != nil {
		return 0, fmt.Errorf("ask the floor's handler: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// Close hangs up, which ends the handler.
func (r *floorRAM) Close() error {
	var errs []error
	if r.conn != nil {
		errs = append(errs, r.conn.Close())
	}
	if r.handler != nil {
		if err := r.handler.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("floor's handler: %w", err))
		}
	}
	if r.faults != nil {
		errs = append(errs, r.faults.Close())
	}
	return errors.Join(append(errs, r.m.Close())...)
}
