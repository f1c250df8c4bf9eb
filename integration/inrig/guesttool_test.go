package inrig

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// guestTool is the name by which the test binary, which is static, is a tool
// inside guests.
const guestTool = "guesttool"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != guestTool {
		os.Exit(m.Run())
	}
	if err := runGuestTool(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, guestTool+":", err)
		os.Exit(1)
	}
}

func runGuestTool(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "get":
		return toolGet(args[1])
	case len(args) == 3 && args[0] == "put":
		return toolPut(args[1], args[2])
	case len(args) == 2 && args[0] == "vsock-echo":
		return toolVsockEcho(args[1])
	case len(args) == 3 && args[0] == "vsock-dial":
		return toolVsockDial(args[1], args[2])
	case len(args) == 3 && args[0] == "verify":
		return toolVerify(args[1], args[2])
	}
	return errors.New("get ADDR | put ADDR BYTES | vsock-echo PORT | vsock-dial PORT TEXT | verify SECONDS BYTES")
}

// toolGet receives all that a TCP server sends, and prints its sum.
func toolGet(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	sum := md5.New()
	n, err := io.Copy(sum, c)
	fmt.Printf("got: %x %d\n", sum.Sum(nil), n)
	return err
}

// toolPut sends noise to a TCP server, and prints its sum.
func toolPut(addr, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	p := make([]byte, n)
	rand.New(rand.NewSource(99)).Read(p)
	fmt.Printf("put: %x %d\n", md5.Sum(p), n)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write(p)
	return err
}

// vsockPort is a socket and the address of a port.
func vsockPort(cid uint32, port string) (*os.File, *unix.SockaddrVM, error) {
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil {
		return nil, nil, err
	}
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "vsock"), &unix.SockaddrVM{CID: cid, Port: uint32(n)}, nil
}

// toolVsockEcho sends back all that it receives on any connection, and ends a
// connection when the other side has.
func toolVsockEcho(port string) error {
	l, addr, err := vsockPort(unix.VMADDR_CID_ANY, port)
	if err != nil {
		return err
	}
	fd := int(l.Fd())
	if err := errors.Join(unix.Bind(fd, addr), unix.Listen(fd, 16)); err != nil {
		return err
	}
	fmt.Println("echoing")
	for {
		c, _, err := unix.Accept(fd)
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			f := os.NewFile(uintptr(c), "vsock")
			defer f.Close()
			if _, err := io.Copy(struct{ io.Writer }{f}, struct{ io.Reader }{f}); err != nil {
				fmt.Println("echo:", err)
			}
		}()
	}
}

// toolVsockDial connects to the host, says something and prints the answer.
func toolVsockDial(port, text string) error {
	f, addr, err := vsockPort(unix.VMADDR_CID_HOST, port)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Connect(int(f.Fd()), addr); err != nil {
		return fmt.Errorf("connect to port %s of the host: %w", port, err)
	}
	if _, err := fmt.Fprintln(f, text); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, struct{ io.Reader }{f})
	return err
}
