//go:build linux && amd64

package main

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"splitvm/guest/agent"
	"splitvm/guest/init/cmdline"
)

// exec runs a command for the host until it has ended and what it wrote is
// sent, or the host is gone.
func (a *agentServer) exec(req agent.Request, c hostConn, r *agent.Reader, w *agent.Writer) error {
	prog, err := findProgram(a.inherit(*req.Exec))
	if err != nil {
		return err
	}
	s, err := openExecStreams(req.Exec.TTY, req.Size, prog.who)
	if err != nil {
		return err
	}
	p, err := a.reaper.start(func() (int, error) { return prog.fork(s.childFDs(), req.Exec.TTY) })
	s.closeChild()
	if err != nil {
		s.close()
		return err
	}
	x := &execution{process: p, streams: s, w: w, in: newInbox()}
	return x.conduct(c, r)
}

// inherit gives a command what the guest's own has, where it says nothing.
func (a *agentServer) inherit(c cmdline.Command) cmdline.Command {
	c.Env = slices.Concat(a.base.Env, c.Env)
	if c.Cwd == "" {
		c.Cwd = a.base.Cwd
	}
	if c.User == "" {
		c.User = a.base.User
	}
	return c
}

// execution is a command of the host's that runs.
type execution struct {
	process *process
	streams *execStreams
	w       *agent.Writer
	in      *inbox
}

// conduct has a goroutine for each stream and one that hears the host, and
// ends them all.
func (x *execution) conduct(c hostConn, r *agent.Reader) error {
	var pumps, rest sync.WaitGroup
	defer rest.Wait()
	defer c.Close()         // ends hear
	defer x.streams.close() // ends feed
	gone := make(chan struct{})
	err := x.w.Send(agent.Started, nil)
	rest.Go(func() {
		defer close(gone)
		x.hear(r)
		x.in.end()
	})
	rest.Go(x.feed)
	for _, o := range x.streams.outputs {
		pumps.Go(func() { x.pump(o) })
	}
	if err == nil {
		select {
		case status := <-x.process.ended:
			x.streams.stopOutputs()
			pumps.Wait()
			return x.w.Send(agent.Exited, statusOf(status).Encode())
		case <-gone:
		}
	}
	x.process.signal(unix.SIGHUP, true)
	x.streams.close()
	pumps.Wait()
	return err
}

func statusOf(s unix.WaitStatus) agent.Status {
	if s.Signaled() {
		return agent.Status{Signal: uint8(s.Signal())}
	}
	return agent.Status{Code: uint8(s.ExitStatus())}
}

// hear does as the host says until the connection ends, or says what a host of
// ours does not.
func (x *execution) hear(r *agent.Reader) {
	for {
		t, p, err := r.Next()
		if err != nil {
			return
		}
		switch {
		case t == agent.Stdin:
			if !x.in.put(p) {
				return
			}
		case t == agent.StdinEnd:
			x.in.end()
		case t == agent.Resize:
			if size, err := agent.ParseSize(p); err == nil {
				x.streams.resize(size)
			}
		case t == agent.Signal && len(p) == 1:
			x.process.signal(unix.Signal(p[0]), true)
		}
	}
}

// feed gives the process its input and tells the host how much it took. Input
// for a process that closed its end is taken as well: the host need not know.
func (x *execution) feed() {
	deaf := false
	for {
		p, more := x.in.take()
		if !more {
			x.streams.endInput()
			return
		}
		if !deaf {
			_, err := x.streams.in.Write(p)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			deaf = err != nil
		}
		if x.w.Send(agent.Taken, binary.LittleEndian.AppendUint32(nil, uint32(len(p)))) != nil {
			return
		}
	}
}

// pump sends an output until it ends. Once the process has ended, that is where
// nothing more is to be read at once: a process that it left behind may keep
// the output open for ever.
func (x *execution) pump(o output) {
	buf := make([]byte, agent.MaxPayload/2)
	for {
		n, err := o.file.Read(buf)
		if n > 0 && x.w.Send(o.frame, buf[:n]) != nil {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			x.drain(o, buf)
		}
		if err != nil {
			return
		}
	}
}

// maxLeft is what a pipe can hold: as much as the process can have left.
const maxLeft = 1 << 20

func (x *execution) drain(o output, buf []byte) {
	raw, err := o.file.SyscallConn()
	if err != nil || o.file.SetReadDeadline(noDeadline) != nil {
		return
	}
	for total := 0; total < maxLeft; {
		var n int
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), buf)
			return true
		})
		if err != nil || n <= 0 || x.w.Send(o.frame, buf[:n]) != nil {
			return
		}
		total += n
	}
}
