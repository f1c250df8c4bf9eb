package client

import (
	"context"
	"encoding/binary"
	"fmt"

	"splitvm/remote"
	"splitvm/remote/wire"
)

var (
	_ remote.LineStore = (*Client)(nil)
	_ remote.LineStore = Lines{}
	_ remote.VRegions  = (*Client)(nil)
)

// Lines is the LineStore of one class of a client.
type Lines struct {
	client *Client
	class  wire.Class
}

// On returns the LineStore whose requests all go over one class.
func (c *Client) On(class wire.Class) Lines { return Lines{c, class} }

// do submits and waits. It waits for Done also after ctx has ended: then it
// comes at once.
func (c *Client) do(ctx context.Context, r *Request) error {
	done := make(chan struct{})
	r.Done = func(*Request) { close(done) }
	if d, ok := ctx.Deadline(); ok {
		r.Deadline = d
	}
	class := r.Class
	c.Submit(r)
	select {
	case <-done:
	case <-ctx.Done():
		c.cancel(r, class)
		<-done
	}
	if r.Err != nil {
		return fmt.Errorf("%v of %v at memory monitor %s: %w", r.Op, r.At, c.cfg.Address, r.Err)
	}
	return nil
}

// ReadLines implements remote.LineStore.
func (s Lines) ReadLines(ctx context.Context, at remote.Owned, runs []remote.Run, mem [][]byte) (remote.LineSet, error) {
	r := &Request{Op: wire.Read, Class: s.class, At: at, Runs: runs, Mem: mem}
	err := s.client.do(ctx, r)
	return r.Zero, err
}

// WriteLines implements remote.LineStore.
func (s Lines) WriteLines(ctx context.Context, at remote.Owned, runs []remote.Run, mem [][]byte) error {
	return s.client.do(ctx, &Request{Op: wire.Write, Class: s.class, At: at, Runs: runs, Mem: mem})
}

// Discard implements remote.LineStore.
func (s Lines) Discard(ctx context.Context, at remote.Owned, runs []remote.Run) error {
	return s.client.do(ctx, &Request{Op: wire.Discard, Class: s.class, At: at, Runs: runs})
}

// ReadLines implements remote.LineStore on the demand connection.
func (c *Client) ReadLines(ctx context.Context, at remote.Owned, runs []remote.Run, mem [][]byte) (remote.LineSet, error) {
	return c.On(wire.Demand).ReadLines(ctx, at, runs, mem)
}

// WriteLines implements remote.LineStore on the bulk connection.
func (c *Client) WriteLines(ctx context.Context, at remote.Owned, runs []remote.Run, mem [][]byte) error {
	return c.On(wire.Bulk).WriteLines(ctx, at, runs, mem)
}

// Discard implements remote.LineStore on the bulk connection.
func (c *Client) Discard(ctx context.Context, at remote.Owned, runs []remote.Run) error {
	return c.On(wire.Bulk).Discard(ctx, at, runs)
}

// Create implements remote.VRegions.
func (c *Client) Create(ctx context.Context, at remote.Owned, lines uint32) error {
	return c.do(ctx, &Request{Op: wire.Create, Class: wire.Bulk, At: at, arg: uint64(lines)})
}

// Adopt implements remote.VRegions.
func (c *Client) Adopt(ctx context.Context, at remote.Owned) error {
	return c.do(ctx, &Request{Op: wire.Adopt, Class: wire.Bulk, At: at})
}

// Delete implements remote.VRegions.
func (c *Client) Delete(ctx context.Context, at remote.Owned) error {
	return c.do(ctx, &Request{Op: wire.Delete, Class: wire.Bulk, At: at})
}

// Stat implements remote.VRegions.
func (c *Client) Stat(ctx context.Context, id remote.VRegionID) (remote.VRegionStat, error) {
	r := &Request{Op: wire.Stat, Class: wire.Bulk, At: remote.Owned{VRegion: id}}
	if err := c.do(ctx, r); err != nil {
		return remote.VRegionStat{}, err
	}
	if len(r.body) < 8 {
		return remote.VRegionStat{}, fmt.Errorf("stat of %v: %w", id, errAnswer)
	}
	held := binary.LittleEndian.Uint64(r.body)
	return remote.VRegionStat{VRegion: id, Epoch: r.reply.Epoch, Lines: uint32(r.reply.Offset), Held: uint32(held)}, nil
}

// Stats returns the monitor's statistics as JSON.
func (c *Client) Stats(ctx context.Context) ([]byte, error) {
	r := &Request{Op: wire.Stats, Class: wire.Bulk}
	err := c.do(ctx, r)
	return r.body, err
}

// Ping asks for an empty answer over one class.
func (c *Client) Ping(ctx context.Context, class wire.Class) error {
	return c.do(ctx, &Request{Op: wire.Ping, Class: class})
}
