package rig

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"splitvm/integration/rig/link"
)

// A machine that dies ends commands with an error that has its console's end.
func TestMachineDies(t *testing.T) {
	m := newAgentBench(t)
	if _, err := m.console.WriteString("Kernel panic - not syncing: test\r\n"); err != nil {
		t.Fatal(err)
	}
	started := writerFunc(func(p []byte) (int, error) { m.vm.kill(); return len(p), nil })
	err := m.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "echo x; sleep 1000"}, Stdout: started})
	if err == nil || !strings.Contains(err.Error(), "not syncing: test") || !strings.Contains(err.Error(), "QEMU has ended") {
		t.Errorf("%v, want one with the console", err)
	}
	if err := m.Run(t.Context(), Shell("true")); err == nil {
		t.Error("a command ran in a dead machine")
	}
	if err := m.Close(); err == nil {
		t.Error("Close of a dead machine: no error")
	}
}

func TestMachineHangs(t *testing.T) {
	m := newBench(t, 2*time.Second, func(port io.ReadWriter) error {
		err := link.NewWriter(port).SendJSON(link.Hello, 0, link.HelloInfo{})
		_, _ = io.Copy(io.Discard, port) // says no more
		return err
	})
	if err := m.Run(t.Context(), Shell("true")); err == nil || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("%v, want a machine that hangs", err)
	}
}

func TestMachineLosesStep(t *testing.T) {
	for name, say := range map[string]string{
		"rubbish":     "this is not a frame at all",
		"second":      "hello",
		"bad status":  "status",
		"wrong frame": "wrong",
	} {
		m := newBench(t, time.Hour, func(port io.ReadWriter) error {
			w, r := link.NewWriter(port), link.NewReader(port)
			if err := w.SendJSON(link.Hello, 0, link.HelloInfo{}); err != nil {
				return err
			}
			f, err := r.Next()
			for err == nil && f.Kind != link.Start {
				f, err = r.Next() // a beat
			}
			if err != nil {
				return err
			}
			switch say {
			case "hello":
				err = w.SendJSON(link.Hello, 0, link.HelloInfo{})
			case "status":
				err = w.Send(link.Frame{Kind: link.Exit, Session: f.Session, Payload: []byte("[")})
			case "wrong":
				err = w.Send(link.Frame{Kind: link.Start, Session: f.Session})
			default:
				_, err = io.WriteString(port, say)
			}
			_, _ = io.Copy(io.Discard, port)
			return err
		})
		if err := m.Run(t.Context(), Shell("true")); !errors.Is(err, link.ErrStep) && (err == nil || !strings.Contains(err.Error(), "lost step")) {
			t.Errorf("%s: %v, want %v", name, err, link.ErrStep)
		}
	}
}

func TestClose(t *testing.T) {
	m := newAgentBench(t)
	pid := m.vm.pid
	over := make(chan error, 1)
	running := make(chan struct{})
	go func() {
		started := writerFunc(func(p []byte) (int, error) { close(running); return len(p), nil })
		over <- m.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "echo x; sleep 1000"}, Stdout: started})
	}()
	<-running
	for range 2 {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := <-over; err == nil {
		t.Error("a command outlived its machine")
	}
	if alive(pid) {
		t.Error("the emulator lives")
	}
	if m.Err() != nil {
		t.Errorf("Err after Close: %v", m.Err())
	}
}
