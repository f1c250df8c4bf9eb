package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/urfave/cli/v3"

	"splitvm/guest/agent"
)

func consoleCommand() *cli.Command {
	return &cli.Command{
		Name:      "console",
		Usage:     "attach to the console of a running vNode",
		ArgsUsage: "VNODE",
		Description: `Shows the end of what the guest wrote, and then all that it writes. A vNode that
was started with --console takes what is typed, as its terminal; Ctrl-A d
detaches, and the guest runs on. Several may be attached.

Example:
   splitvm run --console --name web1 ... &
   splitvm console web1`,
		Flags: []cli.Flag{globalFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			name, err := oneName(c)
			if err != nil {
				return err
			}
			if err := attachConsole(ctx, runningVNodes{c}, name); err != nil {
				return fmt.Errorf("console: %w", err)
			}
			return nil
		},
	}
}

// attachConsole joins this process's terminal with a vNode's console until the user
// detaches or the vNode ends.
func attachConsole(ctx context.Context, vnodes runningVNodes, name string) (err error) {
	conn, err := vnodes.upgrade(ctx, name, "/console", upgradeStream)
	if err != nil {
		return err
	}
	defer conn.Close()
	t, err := openTerminal(os.Stdin, os.Stdout)
	if err != nil {
		return err
	}
	defer t.close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sizes, stopSizes := watchSize(t)
	defer stopSizes()
	over := make(chan struct{})
	defer close(over)
	go tellSizes(ctx, vnodes, name, sizeOf(t), sizes, over)
	detached := make(chan struct{})
	go func() {
		f := escapeFilter{on: t.interactive(), end: 'd'}
		if t.pumpFiltered(&f, conn) == escapeEnd {
			close(detached)
			conn.Close()
		}
	}()
	_, err = io.Copy(os.Stdout, conn)
	select {
	case <-detached:
		t.say("\ndetached; the guest runs on")
		return nil
	default:
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tellSizes gives the console this terminal's size, now and whenever it
// changes.
func tellSizes(ctx context.Context, vnodes runningVNodes, name string, first agent.Size, sizes <-chan agent.Size, over <-chan struct{}) {
	size := first
	for {
		if size.Cols > 0 && size.Rows > 0 {
			form := url.Values{"cols": {strconv.Itoa(int(size.Cols))}, "rows": {strconv.Itoa(int(size.Rows))}}
			vnodes.call(ctx, name, http.MethodPost, "/console/size", form, nil) // without it, the size stays as it is
		}
		select {
		case size = <-sizes:
		case <-over:
			return
		}
	}
}

// consoleContext is how much of what was written before somebody attaches is
// shown.
const consoleContext = 4 << 10

// serveConsole joins a client with the console.
func (n *vnode) serveConsole(w http.ResponseWriter, r *http.Request) {
	conn, err := serveUpgrade(w, r, upgradeStream)
	if err != nil {
		return
	}
	defer conn.Close()
	n.io.written.send(typist{conn, n.io.keyboard()}, n.io.written.at(consoleContext), -1)
}

// typist is a client of which what it sends goes to a guest.
type typist struct {
	io.ReadWriter
	guest io.Writer
}

func (t typist) Read(p []byte) (int, error) {
	n, err := t.ReadWriter.Read(p)
	if n > 0 {
		if _, werr := t.guest.Write(p[:n]); werr != nil {
			return 0, werr
		}
	}
	return n, err
}

// keyboard is where what somebody types goes: nowhere, if the guest has its
// input from splitvm's own.
func (g *guestIO) keyboard() io.Writer {
	if g.screen == nil {
		return io.Discard
	}
	return g.screen.Input(0)
}

// resizeConsole gives the guest's console a size.
func (n *vnode) resizeConsole(cols, rows string) error {
	c, err := strconv.ParseUint(cols, 10, 16)
	if err != nil {
		return fmt.Errorf("columns: %w", err)
	}
	r, err := strconv.ParseUint(rows, 10, 16)
	if err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	if n.io.screen != nil {
		n.io.screen.Resize(uint16(c), uint16(r))
	}
	return nil
}
