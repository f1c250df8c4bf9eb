//go:build amd64

package micro

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	monitor_memory "splitvm/monitors/memory"

	"splitvm/ept/handoff"
	"splitvm/remote/server"
	"splitvm/remote/threads"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// pagerPart is what `splitvm pager` is, for tests, whose executable is another.
func pagerPart(ctx context.Context, socket int) error {
	conn, err := connOf(socket)
	if err != nil {
		return err
	}
	return handoff.Serve(ctx, conn, handoff.Remote{})
}

// monitorThreads is how many connections of a guest's monitor block, at most.
const monitorThreads = 16

// monitorPart is a memory monitor: it reads the number of bytes to hold at most, and
// the network, from its socket, writes the address at which it serves, and ends when the
// other side hangs up.
func monitorPart(socket int) (err error) {
	conn, err := connOf(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the size: %w", err)
	}
	var size uint64
	var network string
	if n, err := fmt.Sscan(line, &size, &network); n == 0 {
		return fmt.Errorf("read the size: %w", err)
	}
	store, err := monitor_memory.NewStore(monitor_memory.StoreConfig{Mem: size, Share: network == "shm"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := threads.Block(monitorThreads); err != nil {
		slog.Debug("monitor's threads", "err", err)
	}
	srv := server.New(server.Config{Store: store, Share: store.Files(), Options: wire.OptSums, Log: slog.New(slog.DiscardHandler)})
	address, remove, err := monitorAddress(network)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	l, err := transport.Listen(address)
	if err != nil {
		return err
	}
	if network == "" {
		address = l.Addr().String()
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	if _, err := fmt.Fprintln(conn, address); err == nil {
		io.Copy(io.Discard, conn)
	}
	err = srv.Close()
	<-served // says no more than that it was closed
	return err
}

// monitorAddress is where to listen on a network, and what to do afterwards.
func monitorAddress(network string) (address string, remove func() error, err error) {
	if network == "" {
		return "127.0.0.1:0", func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "svm")
	return network + ":" + filepath.Join(dir, "s"), func() error { return os.RemoveAll(dir) }, err
}
