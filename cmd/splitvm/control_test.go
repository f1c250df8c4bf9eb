package main

import (
	"net"
	"os"
	"testing"
)

// A killed vNode's socket is swept away by the next one's start; a running
// one's name is refused.
func TestControlSockets(t *testing.T) {
	t.Setenv("SPLITVM_RUN_DIR", t.TempDir())
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: controlPath("dead"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	alive, err := listenControl("alive")
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	if _, err := os.Stat(controlPath("dead")); !os.IsNotExist(err) {
		t.Errorf("the dead vNode's socket is still there (%v)", err)
	}
	if l, err := listenControl("alive"); err == nil {
		l.Close()
		t.Error("a running vNode's name was given out again")
	}
	again, err := listenControl("dead")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
