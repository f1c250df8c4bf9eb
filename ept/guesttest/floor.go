package guesttest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/uffd"
)

// The floors that a miss is measured against, in processes of the same layout:
// a userfaultfd whose handler maps a page of zeroes and does nothing else, and a
// TCP connection that carries a request of 48 bytes and an answer of 48 + 4096.

const floorVariable = "SPLITVM_TEST_FLOOR"

const (
	requestSize = 48
	answerSize  = 48 + pageSize
)

// runFloor is a process of a floor.
func runFloor(what string) int {
	var err error
	switch what {
	case "handler":
		err = floorHandler()
	case "faults":
		err = floorFaults()
	case "pong":
		err = floorPong()
	case "ping":
		err = floorPing()
	default:
		err = fmt.Errorf("no floor %q", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func floorCommand(what string, n int, files ...*os.File) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), floorVariable+"="+what, "FLOOR_N="+strconv.Itoa(n))
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	return cmd
}

// UFFDFloor returns the nanoseconds of n faults that another process resolves
// with a page of zeroes.
func UFFDFloor(n int) ([]int64, error) { return samples(floorCommand("faults", n)) }

// TCPFloor returns the nanoseconds of n round trips between two processes over
// loopback TCP.
func TCPFloor(n int) ([]int64, error) { return samples(floorCommand("ping", n)) }

func samples(cmd *exec.Cmd) ([]int64, error) {
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure floor: %w", err)
	}
	var s []int64
	return s, json.Unmarshal(out, &s)
}

func floorCount() int {
	n, _ := strconv.Atoi(os.Getenv("FLOOR_N"))
	return n
}

// floorFaults touches pages that floorHandler, another process, serves.
func floorFaults() error {
	n := floorCount()
	fd, err := unix.MemfdCreate("floor", 0)
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(fd, int64(n*pageSize)); err != nil {
		return err
	}
	mem, err := unix.Mmap(fd, 0, n*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	f, err := uffd.Open()
	if err != nil {
		return err
	}
	if err := f.Handshake(uffd.FeaturesPager); err != nil {
		return err
	}
	if err := f.Register(addressOf(mem), uint64(len(mem)), uffd.RegisterMissing|uffd.RegisterMinor|uffd.RegisterWP); err != nil {
		return err
	}
	handler := floorCommand("handler", n, os.NewFile(uintptr(f.FD()), "uffd"))
	if err := handler.Start(); err != nil {
		return err
	}
	defer handler.Process.Kill()
	runtime.LockOSThread()
	result := make([]int64, 0, n)
	for _, p := range permutation(n) {
		start := time.Now()
		load(mem, p*pageSize)
		result = append(result, int64(time.Since(start)))
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func floorHandler() error {
	runtime.LockOSThread()
	f, err := uffd.FromFD(3)
	if err != nil {
		return err
	}
	r := uffd.NewReader(f)
	for {
		fds := []unix.PollFd{{Fd: 3, Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return err
		}
		events, err := r.Read()
		if err != nil {
			return err
		}
		for _, e := range events {
			if _, err := f.Zeropage(e.Addr, pageSize, 0); err != nil {
				return err
			}
		}
	}
}

// floorPing measures against floorPong, another process.
func floorPing() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	lf, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	pong := floorCommand("pong", 0, lf)
	if err := pong.Start(); err != nil {
		return err
	}
	defer pong.Process.Kill()
	fd, err := blockingConn(net.Dial("tcp", l.Addr().String()))
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	buf := make([]byte, answerSize)
	n := floorCount()
	result := make([]int64, 0, n)
	for range n {
		start := time.Now()
		if _, err := unix.Write(fd, buf[:requestSize]); err != nil {
			return err
		}
		if err := readAll(fd, buf); err != nil {
			return err
		}
		result = append(result, int64(time.Since(start)))
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func floorPong() error {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	fd, err := blockingConn(l.Accept())
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	buf := make([]byte, answerSize)
	for {
		if err := readAll(fd, buf[:requestSize]); err != nil {
			return err
		}
		if _, err := unix.Write(fd, buf); err != nil {
			return err
		}
	}
}

// blockingConn returns a descriptor of the connection in blocking mode.
func blockingConn(c net.Conn, err error) (int, error) {
	if err != nil {
		return -1, err
	}
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		return -1, err
	}
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		return -1, err
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, unix.SetNonblock(fd, false)
}

func readAll(fd int, buf []byte) error {
	for len(buf) > 0 {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		buf = buf[n:]
	}
	return nil
}
