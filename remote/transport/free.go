package transport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// lowestFree is the lowest port that FreeAddresses gives out.
	lowestFree = 10_000
	// rangeFile has the lowest and the highest port that the kernel gives to who asks for
	// any, connections included (ip(7)).
	rangeFile   = "/proc/sys/net/ipv4/ip_local_port_range"
	usualLowest = 32768 // where that can't be read
)

// FreeAddresses returns n different TCP addresses of this host's loopback (127.0.0.1:PORT)
// that nobody listens at, for servers that are started later, and again at the same ones.
// The ports are below those that the kernel gives to who asks for any, or else one
// of the many connections of a busy host may have it when the server starts, or its
// own clients do that look for it.
func FreeAddresses(n int) ([]string, error) { return freeBetween(lowestFree, lowestGiven(), n) }

// lowestGiven is the lowest port that the kernel gives to who asks for any.
func lowestGiven() int {
	port := usualLowest
	if raw, err := os.ReadFile(rangeFile); err == nil {
		fmt.Sscan(string(raw), &port)
	}
	return port
}

// freeBetween finds addresses with ports from low to below-1, as far as there are any
// there.
func freeBetween(low, below, n int) ([]string, error) {
	var list []string
	for tries := 0; len(list) < n; tries++ {
		port := 0 // any
		if below > low && tries < 10*(n+10) {
			port = low + rand.IntN(below-low)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if port != 0 && errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find free ports: %w", err)
		}
		defer l.Close() // when all are found: none is found twice
		list = append(list, l.Addr().String())
	}
	return list, nil
}
