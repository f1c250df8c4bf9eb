package gateway

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// refused is what the kernel reports of a datagram that was sent before: the
// next may arrive.
func refused(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
}
