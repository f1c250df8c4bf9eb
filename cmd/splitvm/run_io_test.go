package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/report"
	"splitvm/vmm"
	"splitvm/vmm/virtio/virtiotest"
)

// newGuestIO is the host's side of a guest whose init has opened the status
// port, and the queue on which that receives.
func newGuestIO(t *testing.T) (*guestIO, *virtiotest.Queue) {
	t.Helper()
	g := &guestIO{command: true, term: &terminal{in: os.Stdin}, tail: &tail{max: serialTail}, ended: make(chan struct{}), broken: make(chan os.Signal, 1)}
	g.stdout, g.stderr = newOutlet(os.Stdout, nil), newOutlet(os.Stderr, nil)
	if err := g.open(&vnode{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.streams.Close() })
	m := virtiotest.Start(t, g.streams, virtiotest.Options{}, 0)
	const controlOut, ready, portReady, portOpen = 3, 0, 3, 6 // virtio 1.2, 5.3.6.2
	for _, event := range []uint16{ready, portReady, portOpen} {
		message := binary.LittleEndian.AppendUint32(nil, statusPort)
		message = binary.LittleEndian.AppendUint16(message, event)
		m.Queues[controlOut].Do(binary.LittleEndian.AppendUint16(message, 1), 0)
	}
	return g, m.Queues[0]
}

// A signal goes to the command that runs; the second ends the guest, as does
// one that finds no command.
func TestSignalsGoToTheCommandOnce(t *testing.T) {
	g, status := newGuestIO(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	g.take(report.Message{Kind: report.Started})
	g.signal(unix.SIGTERM, cancel)
	if got, want := status.Do(nil, 64), report.EncodeRequest(uint8(unix.SIGTERM)); string(got) != string(want) {
		t.Errorf("the guest got %q, want %q", got, want)
	}
	if ctx.Err() != nil {
		t.Fatal("the first signal ended the guest")
	}
	g.signal(unix.SIGINT, cancel)
	if cause := context.Cause(ctx); !errors.Is(cause, signalled(unix.SIGINT)) {
		t.Errorf("the second signal: %v", cause)
	}
	early, _ := newGuestIO(t)
	ctx, cancel = context.WithCancelCause(t.Context())
	early.signal(unix.SIGHUP, cancel)
	if cause := context.Cause(ctx); !errors.Is(cause, signalled(unix.SIGHUP)) {
		t.Errorf("a signal before the command runs: %v", cause)
	}
}

// The exit status is the command's, however the guest ends after its report;
// without a report it tells what happened.
func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command bool
		final   *report.Message
		end     vmm.Outcome
		status  int
		fails   bool
	}{
		{"exit", true, &report.Message{Kind: report.Exited, Code: 7}, vmm.Outcome{End: vmm.PowerOff}, 7, false},
		{"killed", true, &report.Message{Kind: report.Signaled, Code: 9}, vmm.Outcome{End: vmm.PowerOff}, 137, false},
		{"no power-off", true, &report.Message{Kind: report.Exited, Code: 3}, vmm.Outcome{End: vmm.Stopped, Err: errors.New("late")}, 3, false},
		{"broken", true, &report.Message{Kind: report.Exited}, vmm.Outcome{End: vmm.Failed, Err: errors.New("memory lost")}, 0, true},
		{"silent", true, nil, vmm.Outcome{End: vmm.PowerOff}, 0, true},
		{"crash", true, nil, vmm.Outcome{End: vmm.TripleFault}, 0, true},
		{"own init", false, nil, vmm.Outcome{End: vmm.PowerOff}, 0, false},
		{"own init reboots", false, nil, vmm.Outcome{End: vmm.Reset}, 0, false},
		{"signal", false, nil, vmm.Outcome{End: vmm.Stopped, Err: signalled(unix.SIGTERM)}, 143, false},
		{"escape", false, nil, vmm.Outcome{End: vmm.Stopped, Err: errEscaped}, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &guestIO{command: tt.command, final: tt.final, tail: &tail{max: serialTail}}
			if status, err := g.status(tt.end); status != tt.status || (err != nil) != tt.fails {
				t.Errorf("status %d, %v", status, err)
			}
		})
	}
}
