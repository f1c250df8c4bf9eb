package console

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

func newDevice(t testing.TB, cfg Config) *Device {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.settle = time.Millisecond
	return d
}

func noise(n int) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(int64(n))).Read(p)
	return p
}

var layouts = map[string]virtiotest.Options{
	"split":                    {},
	"split, indirect, events":  {Indirect: true, EventIdx: true},
	"packed":                   {Packed: true},
	"packed, indirect, events": {Packed: true, Indirect: true, EventIdx: true},
}

func TestTerminalBothWays(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			w, r := pipe(t)
			d := newDevice(t, Config{Ports: []Port{{Console: true, Output: w, Buffer: 3000}}})
			if len(d.Describe().Queues) != 2 || d.Describe().Features != featureSize {
				t.Fatalf("a lone terminal needs no control: %+v", d.Describe())
			}
			g := boot(t, d, o, 0)
			want := noise(100_000)
			var both sync.WaitGroup
			both.Go(func() { g.queues[1].send(want) })
			both.Go(func() { d.Input(0).Write(want) })
			both.Go(func() {
				if got := g.queues[0].receive(len(want)); !bytes.Equal(got, want) {
					t.Error("the guest received something else")
				}
			})
			got := make([]byte, len(want))
			if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the host received something else (%v)", err)
			}
			both.Wait()
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// hear reads control messages as text.
func (g *driver) hear(n int) []string {
	g.t.Helper()
	var got []string
	for range n {
		p := g.queues[2].receive(messageSize)
		m := decodeMessage([messageSize]byte(p))
		got = append(got, fmt.Sprintf("port %d event %d value %d %q", m.id, m.event, m.value, p[messageSize:]))
	}
	return got
}

func (g *driver) say(id uint32, event, value uint16) {
	g.t.Helper()
	g.queues[3].send(message{id: id, event: event, value: value}.encode())
}

func TestPortsAreAnnouncedDescribedAndOpened(t *testing.T) {
	opened := make(chan bool, 10)
	w, r := pipe(t)
	d := newDevice(t, Config{Cols: 80, Rows: 25, Ports: []Port{
		{Console: true}, {Name: "splitvm.status", Output: w, Opened: func(open bool) { opened <- open }}}})
	g := boot(t, d, virtiotest.Options{}, 0)
	g.say(0xffffffff, eventDeviceReady, 1)
	want := []string{`port 0 event 1 value 0 ""`, `port 1 event 1 value 0 ""`}
	if diff := cmp.Diff(want, g.hear(2)); diff != "" {
		t.Error(diff)
	}
	g.say(1, eventPortReady, 1)
	g.say(0, eventPortReady, 1)
	want = []string{
		`port 1 event 7 value 1 "splitvm.status"`, `port 1 event 6 value 1 ""`,
		`port 0 event 4 value 1 ""`, `port 0 event 5 value 0 "P\x00\x19\x00"`, `port 0 event 6 value 1 ""`,
	}
	if diff := cmp.Diff(want, g.hear(5)); diff != "" {
		t.Error(diff)
	}
	d.Resize(132, 43)
	if diff := cmp.Diff([]string{`port 0 event 5 value 0 "\x84\x00+\x00"`}, g.hear(1)); diff != "" {
		t.Error(diff)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(d.Input(1), "hello guest")
		sent <- err
	}()
	g.queues[5].send([]byte("hello host")) // a guest may write without opening
	if got := readN(t, r, 10); got != "hello host" {
		t.Errorf("host read %q", got)
	}
	select {
	case err := <-sent:
		t.Errorf("input went to a port that is not open (%v)", err)
	default:
	}
	g.say(1, eventPortOpen, 1)
	if got := string(g.queues[4].receive(11)); got != "hello guest" {
		t.Errorf("guest read %q", got)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	g.say(1, eventPortOpen, 0)
	g.say(1, eventPortOpen, 1)
	d.Reset()
	for i, want := range []bool{true, false, true, false} {
		if got := <-opened; got != want {
			t.Errorf("event %d is %v", i, got)
		}
	}
}

func TestCloseInput(t *testing.T) {
	d := newDevice(t, Config{Ports: []Port{{Name: "in"}}})
	g := boot(t, d, virtiotest.Options{}, 0)
	g.say(0, eventDeviceReady, 1)
	g.say(0, eventPortReady, 1)
	g.say(0, eventPortOpen, 1)
	g.hear(3)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.WriteString(d.Input(0), "the end")
		d.CloseInput(0)
		d.CloseInput(0)
	}()
	if got := string(g.queues[0].receive(7)); got != "the end" {
		t.Errorf("guest read %q", got)
	}
	if diff := cmp.Diff([]string{`port 0 event 6 value 0 ""`}, g.hear(1)); diff != "" {
		t.Error(diff)
	}
	<-done
	if _, err := d.Input(0).Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after CloseInput: %v", err)
	}
	d.Reset()
	g = boot(t, d, virtiotest.Options{}, 0)
	g.say(0, eventDeviceReady, 1)
	g.say(0, eventPortReady, 1)
	d.Resize(1, 1) // not for a port that is no terminal
	if diff := cmp.Diff([]string{`port 0 event 1 value 0 ""`, `port 0 event 7 value 1 "in"`}, g.hear(2)); diff != "" {
		t.Error(diff)
	}
}

// The standard input of a guest's command may be at its end before the guest
// has a driver: that port is never open at the host's end, the others are.
func TestInputEndedBeforeDriver(t *testing.T) {
	w, r := pipe(t)
	d := newDevice(t, Config{Ports: []Port{{Name: "in"}, {Name: "out", Output: w}}})
	d.CloseInput(0)
	g := boot(t, d, virtiotest.Options{}, 0)
	g.say(0xffffffff, eventDeviceReady, 1)
	g.hear(2)
	g.say(0, eventPortReady, 1)
	g.say(1, eventPortReady, 1)
	want := []string{`port 0 event 7 value 1 "in"`, `port 1 event 7 value 1 "out"`, `port 1 event 6 value 1 ""`}
	if diff := cmp.Diff(want, g.hear(3)); diff != "" {
		t.Error(diff)
	}
	g.say(0, eventPortOpen, 1)
	g.queues[5].send([]byte("out")) // after two for port 0 and two of control
	if got := readN(t, r, 3); got != "out" {
		t.Errorf("host read %q", got)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func readN(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func TestDriverWithoutMultiport(t *testing.T) {
	var out bytes.Buffer
	d := newDevice(t, Config{Ports: []Port{{Console: true, Output: &out}, {Name: "x"}}})
	g := boot(t, d, virtiotest.Options{}, featureMultiport)
	go io.WriteString(d.Input(0), "in")
	if got := string(g.queues[0].receive(2)); got != "in" {
		t.Errorf("guest read %q", got)
	}
	g.queues[1].send([]byte("out"))
	d.Close()
	if out.String() != "out" {
		t.Errorf("host read %q", out.String())
	}
}

// A guest writes its last words and ends; nobody waits for its worker.
func TestLastWordsAreHeard(t *testing.T) {
	for i := range 50 {
		var out bytes.Buffer
		d := newDevice(t, Config{Ports: []Port{{Console: true, Output: &out}}})
		g := boot(t, d, virtiotest.Options{}, 0)
		want := strings.Repeat("x", i) + "bye"
		g.queues[1].add([]byte(want), false)
		d.Close()
		if out.String() != want {
			t.Fatalf("host read %q, want %q", out.String(), want)
		}
	}
}

// stuck is an Output that blocks until told to go on.
type stuck struct {
	in, goOn chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	s.in <- struct{}{}
	<-s.goOn
	return s.Buffer.Write(p)
}

func TestResetWithOutputStuck(t *testing.T) {
	s := &stuck{in: make(chan struct{}, 100), goOn: make(chan struct{})}
	d := newDevice(t, Config{Ports: []Port{{Console: true, Output: s, Buffer: 100}}})
	g := boot(t, d, virtiotest.Options{}, 0)
	g.queues[1].add(noise(100), false)
	<-s.in // Output has something and is stuck
	g.queues[1].add(noise(100), false)
	g.queues[1].add(noise(250), false) // finds no room
	done := make(chan struct{})
	go func() { d.Reset(); close(done) }()
	select {
	case <-done:
	case <-time.After(virtiotest.Patience):
		t.Fatal("Reset waits for Output")
	}
	g = boot(t, d, virtiotest.Options{}, 0) // another incarnation carries on
	g.queues[1].add([]byte("again"), false)
	close(s.goOn)
	g.queues[1].used()
	d.Close()
	// How much fits depends on how much Output took first: a part of a chain
	// at least, up to what the buffer holds.
	sent := append(append(noise(100), noise(100)...), noise(250)...)
	got := s.Buffer.Bytes()
	n := len(got) - len("again")
	if n < 100 || n > 200 || !bytes.Equal(got[:n], sent[:n]) || string(got[n:]) != "again" {
		t.Errorf("%d bytes came out: %x", len(got), got)
	}
}

func TestInputSurvivesReset(t *testing.T) {
	d := newDevice(t, Config{Ports: []Port{{Console: true}}})
	want := noise(ringSize * bufSize)
	g := boot(t, d, virtiotest.Options{}, 0)
	sent := make(chan error, 1)
	go func() {
		_, err := d.Input(0).Write(want)
		sent <- err
	}()
	g.queues[0].add(nil, true)
	first := g.queues[0].used()
	d.Reset()
	g = boot(t, d, virtiotest.Options{}, 0)
	rest := g.queues[0].receive(len(want) - len(first))
	if err := <-sent; err != nil || !bytes.Equal(append(first, rest...), want) {
		t.Errorf("the guest received something else (%v)", err)
	}
	go func() {
		_, err := d.Input(0).Write(want)
		sent <- err
	}()
	time.Sleep(time.Millisecond)
	d.Close()
	if err := <-sent; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Input after Close: %v", err)
	}
}

func TestFailedOutputLetsGuestGoOn(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	d := newDevice(t, Config{Ports: []Port{{Console: true, Output: w, Buffer: 10}}})
	g := boot(t, d, virtiotest.Options{}, 0)
	g.queues[1].send(noise(10_000))
	if err := d.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Close: %v, want the output's error", err)
	}
}

func TestWindowSizeInConfig(t *testing.T) {
	d := newDevice(t, Config{Ports: []Port{{Console: true}}, Cols: 80, Rows: 25})
	g := boot(t, d, virtiotest.Options{}, 0)
	d.Resize(300, 7)
	p := make([]byte, configSize)
	d.ReadConfig(p)
	if cols, rows, ports := binary.LittleEndian.Uint16(p), binary.LittleEndian.Uint16(p[2:]), binary.LittleEndian.Uint32(p[4:]); cols != 300 || rows != 7 || ports != 1 {
		t.Errorf("%d columns, %d rows, %d ports", cols, rows, ports)
	}
	for deadline := time.Now().Add(virtiotest.Patience); g.Changed.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d configuration changes, want one when the driver is ready and one for the new size", g.Changed.Load())
		}
	}
}

func TestGuestGivesBadAddress(t *testing.T) {
	d := newDevice(t, Config{Ports: []Port{{Console: true}}})
	g := boot(t, d, virtiotest.Options{}, 0)
	q := g.queues[1]
	if _, ok := q.Add([]virtq.Span{{GPA: 1 << 40, Len: 10}}, nil); !ok {
		t.Fatal("no room")
	}
	q.Kick()
	g.WaitFailed()
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{{}, {Ports: make([]Port, maxPorts+1)}, {Ports: []Port{{Name: strings.Repeat("n", 65)}}}, {Ports: []Port{{Buffer: -1}}}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v) was taken", c)
		}
	}
	d := newDevice(t, Config{Ports: []Port{{Name: "x"}}})
	defer d.Close()
	if err := d.Activate(virtio.Activation{Features: featureMultiport, Queues: make([]*virtio.Queue, 4)}); err == nil {
		t.Error("ports without control queues were taken")
	}
}
