//go:build amd64

package micro

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"

	"golang.org/x/sys/unix"

	"splitvm/guest/bare"
	vmbare "splitvm/vmm/bare"
	"splitvm/vmm/kvm"
)

// What a guest's part says on its way.
const (
	ready  = "ready"  // only the working set is missing
	filled = "filled" // that is there too
)

// guestPart is one cell in this process: see the package's comment for what is
// said on in and out.
func guestPart(ctx context.Context, in io.Reader, out io.Writer, parts Parts) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the cell: %w", err)
	}
	var c Cell
	if err := json.Unmarshal(line, &c); err != nil {
		return fmt.Errorf("read the cell: %w", err)
	}
	g, err := openGuest(ctx, c, parts)
	if err != nil {
		return err
	}
	m, err := g.attended(ctx, lines, out)
	if err := errors.Join(err, g.close()); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(m)
}

// guest is a cell's guest with its memory.
type guest struct {
	cell Cell
	sys  *kvm.System
	ram  RAM
}

func openGuest(ctx context.Context, c Cell, parts Parts) (*guest, error) {
	b, err := backend(c.Backend, parts)
	if err != nil {
		return nil, err
	}
	m, err := ramOf(&c)
	if err != nil {
		return nil, err
	}
	sys, err := kvm.Open("/dev/kvm")
	if err != nil {
		return nil, err
	}
	ram, err := b.Open(ctx, &c, m)
	if err != nil {
		return nil, errors.Join(err, sys.Close())
	}
	return &guest{cell: c, sys: sys, ram: ram}, nil
}

func (g *guest) close() error { return errors.Join(g.ram.Close(), g.sys.Close()) }

// attended is dialogue until the conductor has waited long enough and sends
// SIGTERM. The error says what the backend was about then.
func (g *guest) attended(ctx context.Context, in *bufio.Reader, out io.Writer) (*Measurement, error) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	m, err := g.dialogue(ctx, in, out)
	if d, ok := g.ram.(detailed); ok && ctx.Err() != nil {
		var at Measurement
		err = errors.Join(err, d.Details(&at))
		said, _ := json.Marshal(at.Pager)
		err = errors.Join(err, fmt.Errorf("the pager: %s", said))
	}
	return m, err
}

// dialogue runs the guest between the conductor's words.
func (g *guest) dialogue(ctx context.Context, in *bufio.Reader, out io.Writer) (*Measurement, error) {
	if err := g.getReady(ctx, in, out); err != nil {
		return nil, err
	}
	if g.cell.Pattern != First {
		if _, err := vmbare.Run(ctx, g.sys, g.ram.Memory(), g.cell.fill()); err != nil {
			return nil, err
		}
	}
	if err := say(filled, in, out); err != nil {
		return nil, err
	}
	return g.measure(ctx)
}

// say tells the conductor where the guest is, and waits for its answer.
func say(word string, in *bufio.Reader, out io.Writer) error {
	if _, err := fmt.Fprintln(out, word); err != nil {
		return err
	}
	if _, err := in.ReadString('\n'); err != nil {
		return fmt.Errorf("wait after %q: %w", word, err)
	}
	return nil
}

// getReady says ready while a guest exists that has touched nothing but the
// program, so that what all guests need is in memory, and waits for an answer.
func (g *guest) getReady(ctx context.Context, in *bufio.Reader, out io.Writer) error {
	var talk error
	s := vmbare.Spec{Program: bare.Touch, Params: make([]bare.Params, g.cell.VCPUs)}
	for i := range s.Params {
		s.Params[i] = bare.Params{Start: bare.TablesAt, Count: 1, Stride: bare.LineSize, Accesses: 1}
	}
	s.AtMark = func(int) { talk = say(ready, in, out) }
	_, err := vmbare.Run(ctx, g.sys, g.ram.Memory(), s)
	return errors.Join(err, talk)
}

func (g *guest) measure(ctx context.Context) (*Measurement, error) {
	s, err := g.cell.spec()
	if err != nil {
		return nil, err
	}
	var before uint64
	var countErr error
	s.AtMark = func(int) { before, countErr = g.ram.Misses() }
	r, err := vmbare.Run(ctx, g.sys, g.ram.Memory(), s)
	if err != nil {
		return nil, err
	}
	after, err := g.ram.Misses()
	if err := errors.Join(countErr, err); err != nil {
		return nil, err
	}
	m := measure(r, after-before)
	if d, ok := g.ram.(detailed); ok {
		return &m, d.Details(&m)
	}
	return &m, nil
}
