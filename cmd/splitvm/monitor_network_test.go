package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"splitvm/monitors/network/host"
)

// The process of a processor monitor's networks ends when that was killed and there is
// no vNode, and not before; it takes frames at the address that it had before.
func TestRackNetworksEndAlone(t *testing.T) {
	dir, err := os.MkdirTemp("", "svm") // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	placer, err := net.Listen("unix", filepath.Join(dir, "placer.sock"))
	if err != nil {
		t.Fatal(err)
	}
	n := rackNetworks{dir: dir, socket: filepath.Join(dir, "network.sock"), mesh: "127.0.0.1:0", globals: []string{"127.0.0.1:1"},
		cfg: host.Config{Range: host.DefaultRange, Log: slog.New(slog.DiscardHandler)}, look: time.Millisecond}
	serve := func() chan error {
		done := make(chan error, 1)
		go func() { done <- n.serve(t.Context()) }()
		return done
	}
	stays := func(done chan error, beside string) {
		t.Helper()
		select {
		case err := <-done:
			t.Fatalf("it ended beside %s: %v", beside, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	address := func() string {
		raw, err := os.ReadFile(filepath.Join(dir, "mesh"))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	done := serve()
	stays(done, "its processor monitor")
	first := address()
	vnode, err := net.Dial("unix", n.socket)
	if err != nil {
		t.Fatal(err)
	}
	placer.Close()
	stays(done, "a vNode")
	vnode.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := <-serve(); err != nil {
		t.Fatal(err)
	}
	if second := address(); first != second {
		t.Errorf("frames were taken at %s, then at %s", first, second)
	}
}
