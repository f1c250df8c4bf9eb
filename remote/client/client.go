package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/remote"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// Config is which monitor a client talks to, and how.
type Config struct {
	// Address of the monitor, in the form of transport.ParseAddress.
	Address string
	// Session names this client to the monitor, which lets only the newest
	// connections of a session change anything. A process that takes over from
	// one that was killed uses the same session and a higher incarnation.
	// 0: a random one.
	Session     remote.SessionID
	Incarnation uint64
	// Checksums asks for checksums on payloads.
	Checksums bool
	// Timeout is the deadline of requests that have none. Default 5 s.
	Timeout time.Duration
	// Window is how many requests may be on the way on each connection; more
	// wait in the client. Default 1024, at most 4096.
	Window int
	// Spin is for how long the demand connection polls for an answer before it
	// blocks. Default: not at all.
	Spin time.Duration
	// Dial replaces transport.Dial(ctx, Address).
	Dial func(ctx context.Context) (transport.Conn, error)
	Log  *slog.Logger
}

// Client is the connections to one monitor.
type Client struct {
	cfg   Config
	links [wire.Classes]*link
	wg    sync.WaitGroup
	stop  context.CancelFunc

	// instance is the monitor's, 0 before the first connection.
	instance atomic.Uint64
	here     atomic.Uint64 // lines that were read without a message
	// parked is that the expirer sleeps and must be woken by who submits.
	parked atomic.Bool
	wake   chan struct{}
}

// Dial connects both classes and returns when both are there, or with an error
// when ctx ends first or the monitor refuses. Afterwards the client reconnects
// by itself.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c := New(cfg)
	for _, l := range c.links {
		select {
		case <-l.ready:
		case <-ctx.Done():
			err := l.lastError()
			c.Close()
			return nil, fmt.Errorf("connect to memory monitor %s: %w (last attempt: %v)", cfg.Address, ctx.Err(), err)
		}
		if err := l.failed(); err != nil {
			c.Close()
			return nil, fmt.Errorf("connect to memory monitor %s: %w", cfg.Address, err)
		}
	}
	return c, nil
}

// New returns a client that connects in the background. Requests may be
// submitted at once; they wait for the connection until their deadline.
func New(cfg Config) *Client {
	cfg.complete()
	c := &Client{cfg: cfg, wake: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for class := range c.links {
		c.links[class] = newLink(c, wire.Class(class))
	}
	for _, l := range c.links { // only now: a link that fails for good fails all of them
		c.wg.Go(func() { l.run(ctx) })
		c.wg.Go(l.write)
	}
	c.wg.Go(func() { c.expire(ctx) })
	return c
}

func (cfg *Config) complete() {
	if cfg.Session == 0 {
		var b [8]byte
		rand.Read(b[:]) // never fails since Go 1.24
		cfg.Session = remote.SessionID(binary.LittleEndian.Uint64(b[:]) | 1)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Window <= 0 {
		cfg.Window = 1024
	}
	cfg.Window = min(cfg.Window, maxWindow)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Dial == nil {
		address := cfg.Address
		cfg.Dial = func(ctx context.Context) (transport.Conn, error) { return transport.Dial(ctx, address) }
	}
}

// Submit starts a request. It does not wait: not for the peer, not for room in
// the window.
func (c *Client) Submit(r *Request) {
	if err := r.prepare(c, time.Now()); err != nil {
		r.Err = err
		r.Done(r)
		return
	}
	l := c.links[r.Class]
	if l.readHere(r) {
		r.Done(r)
		return
	}
	if err := l.enqueue(r); err != nil {
		r.Err = err
		r.Done(r)
		return
	}
	c.rouse()
	l.drain()
}

// SubmitAll starts requests and sends them together, with one system call for
// each class where possible.
func (c *Client) SubmitAll(rs []*Request) {
	now := time.Now()
	var used [wire.Classes]bool
	for _, r := range rs {
		class := r.Class
		err := r.prepare(c, now)
		here := err == nil && c.links[class].readHere(r)
		if err == nil && !here {
			err = c.links[class].enqueue(r)
		}
		if here || err != nil {
			r.Err = err
			r.Done(r)
			continue
		}
		used[class] = true
	}
	c.rouse()
	for class, u := range used {
		if u {
			c.links[class].drain()
		}
	}
}

// Instance returns the instance of the monitor that the client is bound to, 0
// before the first connection.
func (c *Client) Instance() remote.InstanceID { return remote.InstanceID(c.instance.Load()) }

// ReadHere returns how many lines were read from the monitor's memory without a message.
func (c *Client) ReadHere() uint64 { return c.here.Load() }

// bind makes sure that the monitor is the one that the client knew. One that was
// restarted has lost its lines: to serve from it would be to serve zeroes.
func (c *Client) bind(id remote.InstanceID) error {
	if c.instance.CompareAndSwap(0, uint64(id)) || c.Instance() == id {
		return nil
	}
	return remote.Restarted
}

// fail ends both links for good.
func (c *Client) fail(err error) {
	for _, l := range c.links {
		l.fail(err)
	}
}

// Close fails all requests with remote.Closed, cuts the connections and waits
// for the client's goroutines. Not to be called from Done.
func (c *Client) Close() error {
	c.fail(remote.Closed)
	c.stop()
	c.wg.Wait()
	return nil
}
