//go:build amd64

package micro

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/vmm/memory"
)

// Backend is a place for a guest's memory, as the guest's part sees it.
type Backend interface {
	// Open makes RAM for the cell's guest, zeroed, with a cache of the
	// cell's size before it. The error says what this host lacks.
	Open(ctx context.Context, c *Cell, ram layout.Map) (RAM, error)
}

// RAM is a guest's memory at a backend.
type RAM interface {
	// Memory is valid until Close.
	Memory() *memory.Memory
	// Misses is how many accesses had to wait for the backend so far.
	Misses() (uint64, error)
	// Close gives everything back, and waits for the processes behind it.
	Close() error
}

// detailed is RAM that can tell more about a run.
type detailed interface {
	// Details adds what it knows.
	Details(m *Measurement) error
}

// Names of backends.
const (
	Local  = "local"  // in memory, all of it
	Floor  = "floor"  // zero pages from a process behind a userfaultfd, dropped when the cache is full
	Model  = "model"  // in the memory of a process behind a userfaultfd, which evicts in line: a pager without a network
	Swap   = "swap"   // the kernel's, to zram
	Remote = "remote" // memory monitors behind splitvm's pager, over loopback TCP where parseRemote says no other
)

// backend finds a backend by its name; parts are for the processes behind it.
func backend(name string, parts Parts) (Backend, error) {
	switch name {
	case Local, Swap:
		return local{}, nil
	case Floor:
		return floor{parts: parts}, nil
	case Model:
		return floor{parts: parts, model: true}, nil
	}
	if name == Remote || strings.HasPrefix(name, Remote+"+") {
		return parseRemote(name, parts)
	}
	return nil, fmt.Errorf("unknown backend %q", name)
}

// ramOf is the map of a guest with the cell's working set above its program.
func ramOf(c *Cell) (layout.Map, error) {
	return layout.New((bare.Memory + c.WorkingSet + layout.Page2M - 1) &^ (layout.Page2M - 1))
}

// local is memory of this process. Under swap, the conductor limits it.
type local struct{}

var _ Backend = local{}

func (local) Open(_ context.Context, _ *Cell, ram layout.Map) (RAM, error) {
	m, err := memory.NewLocal(ram.RAM())
	if err != nil {
		return nil, err
	}
	return localRAM{m}, nil
}

type localRAM struct{ m *memory.Memory }

func (l localRAM) Memory() *memory.Memory { return l.m }
func (l localRAM) Close() error           { return l.m.Close() }

// Misses are the process's major faults: those that brought a page from swap.
func (localRAM) Misses() (uint64, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, errors.Join(errors.New("count faults"), err)
	}
	return uint64(u.Majflt), nil
}
