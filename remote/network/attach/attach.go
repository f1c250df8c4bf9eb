// Package attach is how a vNode's process plugs its network device into a
// virtual network that another process of the host has (package host): the
// protocol, and the vNode's side of it.
//
// One connection to a Unix socket is one plug. The vNode sends a Request as a
// line of JSON together with the port's end of its cable, and gets a Lease as
// a line of JSON; then it may send an Update at any time. The vNode is off the
// network when either closes the connection. Frames never go this way.
package attach

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote/network"
)

// Version of the protocol, in every Request.
const Version = 1

// MaxLine is the longest line of either side, in bytes.
const MaxLine = 16 << 10

// answerTime is what the other side has to say what is due.
const answerTime = 10 * time.Second

// Request asks for a place on a network.
type Request struct {
	Version int    `json:"v"`
	Network string `json:"network"`
	Name    string `json:"name"` // of the vNode, by which others find it

	Addr    netip.Addr `json:"addr,omitzero"` // wanted; zero: any that is free
	Publish []Publish  `json:"publish,omitempty"`
}

// Publish leads a port of the host's to one of the vNode's.
type Publish struct {
	Protocol string         `json:"protocol"` // tcp or udp
	Host     netip.AddrPort `json:"host"`
	Guest    uint16         `json:"guest"`
}

// Lease is a vNode's place on a network, or an error instead.
type Lease struct {
	Addr    netip.Prefix `json:"addr,omitzero"`
	Gateway netip.Addr   `json:"gateway,omitzero"` // and name server
	MTU     int          `json:"mtu,omitempty"`
	// Published is what was asked for, with the host's ports that were found.
	Published []Publish `json:"published,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// Update says what has changed of a vNode.
type Update struct {
	Accept network.Offload `json:"accept"`
}

// Plug is a vNode's place on a network, until Close.
type Plug struct {
	Lease
	conn *net.UnixConn
}

// Dial asks who listens at path for a place on a network. The port's end of
// the cable is handed over, and closed here in any case.
func Dial(ctx context.Context, path string, req Request, port *os.File) (*Plug, error) {
	defer port.Close()
	return dial(ctx, path, req, port)
}

// dial is Dial that leaves the port open.
func dial(ctx context.Context, path string, req Request, port *os.File) (*Plug, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("reach the host's networks: %w (start them with `splitvm monitor network`)", err)
	}
	p := &Plug{conn: c.(*net.UnixConn)}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := p.ask(req, port); err != nil {
		c.Close()
		return nil, fmt.Errorf("join network %s: %w", req.Network, err)
	}
	return p, nil
}

func (p *Plug) ask(req Request, port *os.File) error {
	req.Version = Version
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if err := p.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, _, err := p.conn.WriteMsgUnix(append(line, '\n'), unix.UnixRights(int(port.Fd())), nil); err != nil {
		return err
	}
	scan := bufio.NewScanner(p.conn)
	scan.Buffer(nil, MaxLine)
	if !scan.Scan() {
		return errors.Join(errors.New("no answer"), scan.Err())
	}
	if err := json.Unmarshal(scan.Bytes(), &p.Lease); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if p.Error != "" {
		return errors.New(p.Error)
	}
	return p.conn.SetDeadline(time.Time{})
}

// Accept says what work the guest's driver does itself.
func (p *Plug) Accept(o network.Offload) error {
	line, err := json.Marshal(Update{o})
	if err == nil {
		err = p.conn.SetWriteDeadline(time.Now().Add(answerTime))
	}
	if err == nil {
		_, err = p.conn.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("tell the network: %w", err)
	}
	return nil
}

// Close leaves the network.
func (p *Plug) Close() error { return p.conn.Close() }

// Receive reads a Request and the port's end of the cable that comes with it.
// It is the network's side of Dial.
func Receive(c *net.UnixConn) (Request, *os.File, error) {
	var req Request
	if err := c.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return req, nil, err
	}
	line, oob := make([]byte, MaxLine), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(line, oob)
	if err != nil {
		return req, nil, err
	}
	port, err := cable(oob[:oobn])
	if err != nil {
		return req, nil, err
	}
	if err := parse(line[:n], &req); err != nil {
		port.Close()
		return req, nil, err
	}
	return req, port, c.SetDeadline(time.Time{})
}

// parse reads a line that one message was.
func parse(line []byte, req *Request) error {
	if err := json.Unmarshal(line, req); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if req.Version != Version {
		return fmt.Errorf("protocol %d, not %d: the vNode and the host's networks are of different releases", req.Version, Version)
	}
	return nil
}

// cable takes the descriptor out of a message.
func cable(oob []byte) (*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil, errors.Join(errors.New("no cable came with the request"), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, errors.Join(errors.New("no cable came with the request"), err)
	}
	unix.CloseOnExec(fds[0])
	if err := check(fds[0]); err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "network port"), nil
}

// check refuses what would not keep frames apart.
func check(fd int) error {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || typ != unix.SOCK_SEQPACKET {
		return errors.Join(errors.New("the cable is not a SOCK_SEQPACKET socket"), err)
	}
	return unix.SetNonblock(fd, true)
}
