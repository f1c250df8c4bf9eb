package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"splitvm/guest/agent"
)

// upgradeAgent is what an HTTP connection with a vNode's control socket turns
// into: a session with the guest's agent, byte by byte.
const upgradeAgent = "splitvm-agent"

// agentDialer connects to the agents of vNodes, wherever they run.
type agentDialer interface {
	// dialAgent connects to the agent of the named vNode. It fails if there is
	// no such vNode, or its guest has no agent (yet).
	dialAgent(ctx context.Context, vnode string) (io.ReadWriteCloser, error)
}

var _ agentDialer = runningVNodes{}

func (v runningVNodes) dialAgent(ctx context.Context, name string) (io.ReadWriteCloser, error) {
	return v.upgrade(ctx, name, "/agent", upgradeAgent)
}

// upgrade asks a vNode's control socket for a connection that is no more HTTP.
func (v runningVNodes) upgrade(ctx context.Context, name, path, protocol string) (io.ReadWriteCloser, error) {
	c, err := v.dial(ctx, name)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: vnode\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", path, protocol)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("vNode %s: %w", name, errors.Join(context.Cause(ctx), err))
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer c.Close()
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // as far as it came
		return nil, fmt.Errorf("vNode %s: %s", name, strings.TrimSpace(string(reason)))
	}
	return upgraded{c, r}, nil
}

// upgraded is a connection whose first bytes may have been read already.
type upgraded struct {
	net.Conn
	r *bufio.Reader
}

func (u upgraded) Read(p []byte) (int, error) { return u.r.Read(p) }

// serveUpgrade answers a request for a connection and returns it, or an error
// that has been told.
func serveUpgrade(w http.ResponseWriter, r *http.Request, protocol string) (io.ReadWriteCloser, error) {
	if r.Header.Get("Upgrade") != protocol {
		err := fmt.Errorf("this is for connections that turn into %s", protocol)
		http.Error(w, err.Error(), http.StatusUpgradeRequired)
		return nil, err
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, err
	}
	_, err = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	if err != nil {
		c.Close()
		return nil, err
	}
	return upgraded{c, buffered.Reader}, nil
}

// serveAgent joins a client with the guest's agent.
func (n *vnode) serveAgent(w http.ResponseWriter, r *http.Request) {
	guest, err := n.sockets.Dial(r.Context(), agent.Port)
	if err != nil {
		http.Error(w, fmt.Sprintf("the guest has no agent, or not yet: it is splitvm's own init that runs commands (%v)", err), http.StatusServiceUnavailable)
		return
	}
	defer guest.Close()
	client, err := serveUpgrade(w, r, upgradeAgent)
	if err != nil {
		return
	}
	joinConns(client, guest)
}

// joinConns carries bytes both ways until one side ends, and then closes both.
func joinConns(a, b io.ReadWriteCloser) {
	var done sync.WaitGroup
	for _, way := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		done.Go(func() {
			io.Copy(way[0], way[1])
			a.Close()
			b.Close()
		})
	}
	done.Wait()
}
