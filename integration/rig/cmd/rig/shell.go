package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"splitvm/integration/rig"
	"splitvm/integration/rig/link"
)

// The shell's escape: this key and then q ends the machine, twice sends it. Not
// Ctrl-A, which is the console's of the VMMs in there.
const escapeKey = 0x1D // Ctrl-]

var errEscaped = errors.New("rig: ended by Ctrl-] q")

func shellCommand() *cli.Command {
	return &cli.Command{
		Name:  "shell",
		Usage: "start a shell in a machine",
		Description: "The terminal is the shell's: Ctrl-C goes there. The machine ends with the shell, or by Ctrl-] q.\n" +
			"What the shell leaves in the machine is gone with it, except on disks given with --disk.\n\n" +
			"Examples:\n   rig shell\n   rig shell --mem 8 --file ./rootfs:/root/rootfs",
		Flags:  machineFlags(),
		Action: shell,
	}
}

func shell(ctx context.Context, c *cli.Command) error {
	o, err := machineOptions(c)
	if err != nil {
		return err
	}
	m, err := rig.StartWithSplitvm(ctx, o, c.String("splitvm"))
	if err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, "rig: /kernels, /images and /scratch are there, splitvm and qemu-system-x86_64 too; exit or Ctrl-] q ends it\r\n")
	login := rig.Cmd{Args: []string{"/bin/sh", "-l"}, Env: []string{"PS1=rig:\\w# "}, Dir: "/root", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	return errors.Join(interact(ctx, m, login), m.Close())
}

// interact runs a command with our terminal, where there is one.
func interact(ctx context.Context, m *rig.Machine, cmd rig.Cmd) error {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return m.Run(ctx, cmd)
	}
	saved, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	defer term.Restore(fd, saved)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	cmd.Env = append(cmd.Env, "TERM="+os.Getenv("TERM"))
	size := terminalSize(fd)
	cmd.TTY = &size
	cmd.Stdin = &escape{in: os.Stdin, end: func() { end(errEscaped) }}
	resized, stop := sizes(fd)
	defer stop()
	cmd.Resize = resized
	if err = m.Run(ctx, cmd); errors.Is(err, errEscaped) {
		return nil
	}
	return err
}

func terminalSize(fd int) link.Size {
	cols, rows, err := term.GetSize(fd)
	if err != nil {
		return link.Size{Rows: 24, Cols: 80}
	}
	return link.Size{Rows: uint16(rows), Cols: uint16(cols)}
}

// sizes tells the terminal's size whenever it changes, until stopped.
func sizes(fd int) (<-chan link.Size, func()) {
	changed := make(chan os.Signal, 1)
	out := make(chan link.Size, 1)
	done, over := make(chan struct{}), make(chan struct{})
	signal.Notify(changed, unix.SIGWINCH)
	go func() {
		defer close(over)
		for {
			select {
			case <-done:
				return
			case <-changed:
			}
			select {
			case out <- terminalSize(fd):
			case <-done:
				return
			}
		}
	}()
	return out, func() {
		signal.Stop(changed)
		close(done)
		<-over
	}
}

// escape is the terminal's input without the escapes in it.
type escape struct {
	in      io.Reader
	end     func()
	pending bool // the last key was the escape's
}

func (e *escape) Read(p []byte) (int, error) {
	for {
		n, err := e.in.Read(p)
		kept, quit := e.filter(p[:n])
		if quit {
			e.end()
			return 0, io.EOF
		}
		if kept > 0 || err != nil {
			return kept, err
		}
	}
}

// filter takes escapes out of p in place; quit tells that one was for the end.
func (e *escape) filter(p []byte) (kept int, quit bool) {
	if !e.pending && bytes.IndexByte(p, escapeKey) < 0 {
		return len(p), false
	}
	out := p[:0]
	for _, b := range p {
		switch {
		case e.pending && b == 'q':
			return 0, true
		case !e.pending && b == escapeKey:
			e.pending = true
			continue
		}
		// The escape key twice is itself once; before another key it is lost.
		e.pending = false
		out = append(out, b)
	}
	return len(out), false
}
