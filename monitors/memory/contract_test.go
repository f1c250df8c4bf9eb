package memory_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"splitvm/monitors/memory"
	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/remote/remotetest"
	"splitvm/remote/server"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

func newStore(t testing.TB, lines int) *memory.Store {
	t.Helper()
	s, err := memory.NewStore(memory.StoreConfig{Mem: uint64(lines) * remote.LineSize, Share: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// serve serves a store in this process and returns the address and the server.
func serve(t testing.TB, store server.Store, address string) (string, *server.Server) {
	t.Helper()
	l, err := transport.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	cfg := server.Config{Store: store, Options: wire.OptSums, Log: slog.New(slog.DiscardHandler)}
	if s, ok := store.(*memory.Store); ok {
		cfg.Share = s.Files()
	}
	srv := server.New(cfg)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if n := l.Addr().Network(); n != "tcp" {
		return n + ":" + l.Addr().String(), srv
	}
	return l.Addr().String(), srv
}

func TestContract(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		remotetest.Run(t, func(t *testing.T) remotetest.Store { return newStore(t, remotetest.Limit) })
	})
	dial := func(t *testing.T, listen string, cfg client.Config) *client.Client {
		cfg.Address, _ = serve(t, newStore(t, remotetest.Limit), listen)
		return connect(t, cfg)
	}
	t.Run("tcp", func(t *testing.T) {
		remotetest.Run(t, func(t *testing.T) remotetest.Store { return dial(t, "127.0.0.1:0", client.Config{}) })
	})
	t.Run("tcp with checksums", func(t *testing.T) {
		remotetest.Run(t, func(t *testing.T) remotetest.Store {
			return dial(t, "127.0.0.1:0", client.Config{Checksums: true})
		})
	})
	t.Run("unix, all on bulk, window of one", func(t *testing.T) {
		remotetest.Run(t, func(t *testing.T) remotetest.Store {
			c := dial(t, "unix:"+filepath.Join(t.TempDir(), "s"), client.Config{Window: 1})
			return remotetest.Roles{LineStore: c.On(wire.Bulk), VRegions: c}
		})
	})
	t.Run("shared memory with checksums", func(t *testing.T) {
		remotetest.Run(t, func(t *testing.T) remotetest.Store {
			return dial(t, "shm:"+filepath.Join(t.TempDir(), "s"), client.Config{Checksums: true})
		})
	})
	t.Run("unix, all on demand", func(t *testing.T) {
		remotetest.Run(t, func(t *testing.T) remotetest.Store {
			c := dial(t, "unix:"+filepath.Join(t.TempDir(), "s"), client.Config{Checksums: true})
			return remotetest.Roles{LineStore: c.On(wire.Demand), VRegions: c}
		})
	})
}
