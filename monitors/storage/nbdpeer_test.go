package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"splitvm/remote/transport"
)

// nbdPeer is a disk at qemu-nbd, over the NBD protocol as the Linux driver speaks
// it: the figure to compare with.
type nbdPeer struct {
	conn transport.Conn
	mu   sync.Mutex
	vec  *transport.Vec           // guarded by mu
	head [28]byte                 // guarded by mu
	next uint64                   // guarded by mu
	open map[uint64]*pendingBlock // guarded by mu
}

type pendingBlock struct {
	write bool
	p     []byte
	done  func(error)
}

func startNBD(t testing.TB, file string) *nbdPeer {
	t.Helper()
	program, err := exec.LookPath("qemu-nbd")
	if err != nil {
		t.Skip("qemu-nbd is not here: apt-get install qemu-utils")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command(program, "-t", "-f", "raw", "--cache=writeback", "-b", "127.0.0.1", "-p", fmt.Sprint(port), file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var nc net.Conn
	for range 400 {
		if nc, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := greetNBD(nc); err != nil {
		t.Fatal(err)
	}
	conn, err := transport.FromNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	n := &nbdPeer{conn: conn, vec: transport.NewVec(2), open: map[uint64]*pendingBlock{}}
	var reading sync.WaitGroup
	reading.Go(n.receive)
	t.Cleanup(func() {
		conn.Shutdown()
		reading.Wait()
		conn.Close()
	})
	return n
}

// greetNBD does the fixed newstyle handshake for the default export.
func greetNBD(c net.Conn) error {
	var hello [18]byte
	if _, err := io.ReadFull(c, hello[:]); err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(nil, 3) // fixed newstyle, no zeroes
	b = append(b, "IHAVEOPT"...)               // option
	b = binary.BigEndian.AppendUint32(b, 1)    // NBD_OPT_EXPORT_NAME
	b = binary.BigEndian.AppendUint32(b, 0)    // of no bytes
	if _, err := c.Write(b); err != nil {
		return err
	}
	var export [10]byte
	_, err := io.ReadFull(c, export[:])
	return err
}

func (n *nbdPeer) submit(_ context.Context, write bool, off uint64, p []byte, done func(error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	n.open[n.next] = &pendingBlock{write, p, done}
	be := binary.BigEndian
	be.PutUint32(n.head[0:], 0x25609513)
	be.PutUint32(n.head[4:], 0)
	if write {
		be.PutUint32(n.head[4:], 1)
	}
	be.PutUint64(n.head[8:], n.next)
	be.PutUint64(n.head[16:], off)
	be.PutUint32(n.head[24:], uint32(len(p)))
	n.vec.Reset()
	n.vec.Add(n.head[:])
	if write {
		n.vec.Add(p)
	}
	for n.vec.Len() > 0 {
		if _, err := n.conn.Send(n.vec); err != nil {
			panic(err)
		}
	}
}

func (n *nbdPeer) receive() {
	in := transport.NewVec(1)
	fill := func(p []byte) bool {
		in.Reset()
		in.Add(p)
		for in.Len() > 0 {
			if _, err := n.conn.Recv(in); err != nil {
				return false
			}
		}
		return true
	}
	var head [16]byte
	for fill(head[:]) {
		n.mu.Lock()
		id := binary.BigEndian.Uint64(head[8:])
		b := n.open[id]
		delete(n.open, id)
		n.mu.Unlock()
		var err error
		if e := binary.BigEndian.Uint32(head[4:]); e != 0 {
			err = fmt.Errorf("NBD error %d", e)
		} else if !b.write && !fill(b.p) {
			return
		}
		b.done(err)
	}
}
