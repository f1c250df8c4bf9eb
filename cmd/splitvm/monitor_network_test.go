package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"splitvm/monitors/network/host"
	"splitvm/remote/network/attach"
	"splitvm/remote/transport"
	"splitvm/vmm/usernet"
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
	cable, port, err := usernet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer cable.Close()
	vnode, err := attach.Join(t.Context(), n.socket, attach.Request{Network: "front", Name: "a", Addr: netip.MustParseAddr("10.88.0.9")}, port, time.Minute, n.cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	first := address()
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

// The metrics of the networks are there while it serves, those of a vNode while that is
// on a network.
func TestRackNetworksMetrics(t *testing.T) {
	dir, err := os.MkdirTemp("", "svm")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ports, err := transport.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	n := rackNetworks{dir: dir, socket: filepath.Join(dir, "network.sock"), mesh: "127.0.0.1:0", globals: []string{"127.0.0.1:1"},
		cfg: host.Config{Range: host.DefaultRange, Log: slog.New(slog.DiscardHandler)}, look: time.Hour, metrics: ports[0]}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.serve(ctx) }()
	cable, port, err := usernet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer cable.Close()
	place, err := attach.Join(ctx, n.socket, attach.Request{Network: "front", Name: "a", Addr: netip.MustParseAddr("10.88.0.9")}, port, time.Minute, n.cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	r, err := http.Get("http://" + ports[0] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	for _, want := range []string{`splitvm_network_frames_total{direction="sent",network="front",vnode="a"} 0`, "splitvm_mesh_connections_total 0"} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s, %v", want, text, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
