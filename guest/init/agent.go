//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/agent"
	"splitvm/guest/init/cmdline"
)

const (
	requestWait = 10 * time.Second // for the host to say what it wants
	maxSessions = 128
	acceptPause = 100 * time.Millisecond // after an error of accept(2), out of memory say
)

// serveAgent answers the host's requests for as long as the guest lives. A
// guest without a socket device has no agent.
func serveAgent(r *reaper, base cmdline.Command) {
	l, err := listenVsock(agent.Port)
	if err != nil {
		logf("no agent: %v", err)
		return
	}
	a := &agentServer{reaper: r, base: base, busy: make(chan struct{}, maxSessions)}
	go a.serve(l)
}

// agentServer starts the host's sessions. They share the reaper only.
type agentServer struct {
	reaper *reaper
	base   cmdline.Command // the guest's own; environment, directory and user of others come from it
	busy   chan struct{}
}

func (a *agentServer) serve(l *os.File) {
	for {
		c, err := acceptHost(l)
		if err != nil {
			logError(fmt.Errorf("agent: accept: %w", err))
			time.Sleep(acceptPause)
			continue
		}
		a.busy <- struct{}{}
		go func() {
			defer func() { <-a.busy }()
			defer c.Close()
			a.session(c)
		}()
	}
}

// hostConn is a connection with the host.
type hostConn interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
}

var (
	_ hostConn = (*os.File)(nil)
	_ hostConn = net.Conn(nil)
)

// session serves one connection.
func (a *agentServer) session(c hostConn) {
	w := agent.NewWriter(c)
	err := a.conduct(c, w)
	var f *agent.Failure
	if err != nil && !errors.As(err, &f) {
		f = &agent.Failure{Status: exitCode(err), Reason: err.Error()}
	}
	if f != nil {
		_ = w.Send(agent.Failed, f.Encode()) // a host that is gone needs no reason
	}
}

// conduct does what the host asks for. Its error is told to the host.
func (a *agentServer) conduct(c hostConn, w *agent.Writer) error {
	r := agent.NewReader(c)
	if err := c.SetReadDeadline(time.Now().Add(requestWait)); err != nil {
		return err
	}
	t, p, err := r.Next()
	if err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if t != agent.Start {
		return fmt.Errorf("agent: frame of type %d before a request", t)
	}
	req, err := agent.ParseRequest(p)
	if err != nil {
		return err
	}
	switch {
	case req.Exec != nil:
		return a.exec(req, c, r, w)
	case req.Put != "":
		return putTree(req.Put, r, w)
	}
	return getTree(req.Get, w)
}

// listenVsock listens on a port of the guest's.
func listenVsock(port uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port})
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on vsock port %d: %w", port, err)
	}
	return os.NewFile(uintptr(fd), "vsock"), nil
}

// acceptHost waits for the host to connect; others, which are processes of the
// guest by its loopback, are turned away.
func acceptHost(l *os.File) (*os.File, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	for {
		var fd int
		var peer unix.Sockaddr
		var acceptErr error
		err := raw.Read(func(listener uintptr) bool {
			fd, peer, acceptErr = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return acceptErr != syscall.EAGAIN
		})
		if err = errors.Join(err, acceptErr); err != nil {
			return nil, err
		}
		if vm, ok := peer.(*unix.SockaddrVM); ok && vm.CID == unix.VMADDR_CID_HOST {
			return os.NewFile(uintptr(fd), "host"), nil
		}
		unix.Close(fd)
	}
}
