package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"splitvm/remote"
)

// runDir is where running vNodes have their control sockets.
func runDir() string {
	if dir := os.Getenv("SPLITVM_RUN_DIR"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Getuid() != 0 {
		return filepath.Join(dir, "splitvm")
	}
	if os.Getuid() == 0 {
		return "/run/splitvm"
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("splitvm-%d", os.Getuid()))
}

func controlPath(name string) string { return filepath.Join(runDir(), name+".sock") }

// openControl lets other processes of this user ask the vNode how it is and
// change it, by HTTP on a unix socket.
func (n *vnode) openControl(context.Context) error {
	l, err := listenControl(n.o.name)
	if err != nil {
		return err
	}
	started := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		s, err := n.stats(r.Context(), started)
		answer(w, s, err)
	})
	mux.HandleFunc("POST /excache", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, n.resize(r.Context(), r.FormValue("size")))
	})
	n.serveMoves(mux)
	if n.io != nil { // a bare guest has no consoles and no agent
		mux.HandleFunc("POST /agent", n.serveAgent)
		mux.HandleFunc("POST /logs", n.serveLogs)
		mux.HandleFunc("POST /console", n.serveConsole)
		mux.HandleFunc("POST /console/size", func(w http.ResponseWriter, r *http.Request) {
			answer(w, struct{}{}, n.resizeConsole(r.FormValue("cols"), r.FormValue("rows")))
		})
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry(started), promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(l)
	n.onClose(srv.Close)
	if n.o.metrics == "" {
		return nil
	}
	tcp, err := net.Listen("tcp", n.o.metrics)
	if err != nil {
		return fmt.Errorf("metrics endpoint: %w", err)
	}
	public := http.NewServeMux()
	public.Handle("GET /metrics", promhttp.HandlerFor(n.registry(started), promhttp.HandlerOpts{}))
	open := &http.Server{Handler: public, ReadHeaderTimeout: 10 * time.Second}
	go open.Serve(tcp)
	n.onClose(open.Close)
	return nil
}

// listenControl makes the socket, and sweeps away those that killed vNodes left
// behind.
func listenControl(name string) (net.Listener, error) {
	path := controlPath(name)
	if err := os.MkdirAll(runDir(), 0o700); err != nil {
		return nil, fmt.Errorf("control socket: %w (set SPLITVM_RUN_DIR to a folder of yours)", err)
	}
	unlock, err := lockRunDir()
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer unlock()
	others, err := filepath.Glob(controlPath("*"))
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	for _, other := range others {
		if abandoned(other) {
			os.Remove(other)
		} else if other == path {
			return nil, fmt.Errorf("a vNode named %s is running: give another --name", name)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w (set SPLITVM_RUN_DIR to a folder of yours)", err)
	}
	return l, os.Chmod(path, 0o600)
}

// lockRunDir keeps others from sweeping away a socket that is bound but not
// listened on yet.
func lockRunDir() (unlock func() error, err error) {
	dir, err := os.Open(runDir())
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir.Close, nil
}

// abandoned tells whether nobody listens on a socket any more.
func abandoned(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return refused(err)
}

func refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func (n *vnode) resize(ctx context.Context, size string) error {
	if n.far == nil {
		return errors.New("this vNode's memory is local: it has no ExCache")
	}
	bytes, err := parseSize(size)
	if err != nil {
		return err
	}
	return n.far.keeper.Resize(ctx, bytes/remote.LineSize)
}
