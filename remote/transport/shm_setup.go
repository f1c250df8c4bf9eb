package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Setting a shared-memory connection up: the client connects to a unix socket,
// and the server, which makes the memory, sends its descriptor, and those of the
// files that it shares besides (Share). The memory is sealed, so that neither side
// can make the other's mapping end under it.

const (
	sharedBytes = 2 * ringBytes
	sharedSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

	maxFiles = 4 // that a server shares
)

// sharedListener accepts connections that become shared.
type sharedListener struct {
	net.Listener
	files []*os.File
}

// sharedOffer is an accepted connection that FromNet makes a shared of.
type sharedOffer struct {
	*net.UnixConn
	files []*os.File
}

// Share has each client of a listener on shm: be sent up to four files, which have to stay
// open, before anything else: FilesOf is the other end. Listeners of other networks
// send none. To be called before the first Accept.
func Share(l net.Listener, files ...*os.File) {
	if s, ok := l.(*sharedListener); ok {
		s.files = files
	}
}

// FilesOf returns the files that the server of a connection shares, in its order; they
// are closed with it.
func FilesOf(c Conn) []*os.File {
	if s, ok := c.(*shared); ok {
		return s.files
	}
	return nil
}

// Accept implements net.Listener.
func (l *sharedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return sharedOffer{c.(*net.UnixConn), l.files}, nil
}

// Addr implements net.Listener.
func (l *sharedListener) Addr() net.Addr { return sharedAddr(l.Listener.Addr().String()) }

// sharedAddr is the address of a sharedListener: the path of its socket.
type sharedAddr string

// Network implements net.Addr.
func (sharedAddr) Network() string { return "shm" }

// String implements net.Addr.
func (a sharedAddr) String() string { return string(a) }

// offer makes the memory and sends it to the client. It takes over the connection.
func offer(o sharedOffer) (Conn, error) {
	c := o.UnixConn
	fd, mem, err := makeShared()
	if err != nil {
		c.Close()
		return nil, err
	}
	defer unix.Close(fd)
	fds := []int{fd}
	for _, f := range o.files {
		fds = append(fds, int(f.Fd()))
	}
	c.SetWriteDeadline(time.Now().Add(time.Second)) // the first bytes on the socket: they fit
	if _, _, err := c.WriteMsgUnix([]byte{1}, unix.UnixRights(fds...), nil); err != nil {
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
	mem, files, err := receiveShared(c)
	if !stop() && err == nil {
		unix.Munmap(mem)
		err = ctx.Err()
	}
	if err != nil {
		closeFiles(files)
		c.Close()
		return nil, fmt.Errorf("connect to shm:%s: %w", path, err)
	}
	s := newShared(mem, c, "shm:"+path, false)
	s.files = files
	return s, nil
}

var errNoMemory = errors.New("the server sent no shared memory (is it a shm: address?)")

// receiveShared receives the memory's descriptor, maps it, and returns the files that
// came with it.
func receiveShared(c *net.UnixConn) (mem []byte, files []*os.File, err error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*(1+maxFiles)))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || n != 1 || len(msgs) != 1 {
		return nil, nil, errNoMemory
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) == 0 {
		return nil, nil, errNoMemory
	}
	defer unix.Close(fds[0])
	for _, fd := range fds[1:] {
		files = append(files, os.NewFile(uintptr(fd), "shared by "+c.RemoteAddr().String()))
	}
	if mem, err = mapSealed(fds[0]); err != nil {
		closeFiles(files)
		return nil, nil, err
	}
	return mem, files, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// mapSealed maps the memory of a connection, if it is that.
func mapSealed(fd int) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, fmt.Errorf("shared memory is not sealed: %w", errNoMemory)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size != sharedBytes {
		return nil, fmt.Errorf("shared memory of %d bytes: %w", st.Size, errNoMemory)
	}
	return mapShared(fd)
}
