//go:build amd64

package micro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

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

// monitorPart is a memory monitor: it reads the number of bytes to hold at most
// from its socket, writes the address at which it serves, and ends when the
// other side hangs up.
func monitorPart(socket int) (err error) {
	conn, err := connOf(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	var size uint64
	if _, err := fmt.Fscanln(conn, &size); err != nil {
		return fmt.Errorf("read the size: %w", err)
	}
	store, err := monitor_memory.NewStore(monitor_memory.StoreConfig{Mem: size})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := threads.Block(monitorThreads); err != nil {
		slog.Debug("monitor's threads", "err", err)
	}
	srv := server.New(server.Config{Store: store, Options: wire.OptSums, Log: slog.New(slog.DiscardHandler)})
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	if _, err := fmt.Fprintln(conn, l.Addr()); err == nil {
		io.Copy(io.Discard, conn)
	}
	err = srv.Close()
	<-served // says no more than that it was closed
	return err
}
