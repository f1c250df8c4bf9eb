package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Setting a shared-memory connection up: the client connects to a unix socket,
// and the server, which makes the memory, sends its descriptor. The memory is
// sealed, so that neither side can make the other's mapping end under it.

const (
	sharedBytes = 2 * ringBytes
	sharedSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
)

// sharedListener accepts connections that become shared.
type sharedListener struct{ net.Listener }

// sharedOffer is an accepted connection that FromNet makes a shared of.
type sharedOffer struct{ *net.UnixConn }

// Accept implements net.Listener.
func (l sharedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return sharedOffer{c.(*net.UnixConn)}, nil
}

// Addr implements net.Listener.
func (l sharedListener) Addr() net.Addr { return sharedAddr(l.Listener.Addr().String()) }

// sharedAddr is the address of a sharedListener: the path of its socket.
type sharedAddr string

// Network implements net.Addr.
func (sharedAddr) Network() string { return "shm" }

// String implements net.Addr.
func (a sharedAddr) String() string { return string(a) }

// offer makes the memory and sends it to the client. It takes over c.
func offer(c *net.UnixConn) (Conn, error) {
	fd, mem, err := makeShared()
	if err != nil {
		c.Close()
		return nil, err
	}
	defer unix.Close(fd)
	c.SetWriteDeadline(time.Now().Add(time.Second)) // the first bytes on the socket: they fit
	if _, _, err := c.WriteMsgUnix([]byte{1}, unix.UnixRights(fd), nil); err != nil {
		unix.Munmap(mem)
		c.Close()
		return nil, fmt.Errorf("send shared memory: %w", err)
	}
	return newShared(mem, c, "shm:"+c.LocalAddr().String(), true), nil
}

func makeShared() (fd int, mem []byte, err error) {
	fd, err = unix.MemfdCreate("splitvm-ring", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, nil, fmt.Errorf("make shared memory: %w", err)
	}
	if err = unix.Ftruncate(fd, sharedBytes); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sharedSeals)
	}
	if err == nil {
		mem, err = mapShared(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("make shared memory: %w", err)
	}
	return fd, mem, nil
}

func mapShared(fd int) ([]byte, error) {
	return unix.Mmap(fd, 0, sharedBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// dialShared connects to a sharedListener's socket.
func dialShared(ctx context.Context, path string) (Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c := nc.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	mem, err := receiveShared(c)
	if !stop() && err == nil {
		unix.Munmap(mem)
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to shm:%s: %w", path, err)
	}
	return newShared(mem, c, "shm:"+path, false), nil
}

var errNoMemory = errors.New("the server sent no shared memory (is it a shm: address?)")

// receiveShared receives the memory's descriptor and maps it.
func receiveShared(c *net.UnixConn) ([]byte, error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || n != 1 || len(msgs) != 1 {
		return nil, errNoMemory
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errNoMemory
	}
	defer unix.Close(fds[0])
	seals, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, fmt.Errorf("shared memory is not sealed: %w", errNoMemory)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fds[0], &st); err != nil || st.Size != sharedBytes {
		return nil, fmt.Errorf("shared memory of %d bytes: %w", st.Size, errNoMemory)
	}
	return mapShared(fds[0])
}
