package vsock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

func read(t testing.TB, c io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func ends(t testing.TB, c io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("%q (%v) where the end was expected", rest, err)
	}
}

func write(t testing.TB, c io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func TestGuestConnectsToUnixSocket(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	l := hostListens(t, path, 80)
	g := newGuest(t, d, virtiotest.Options{})
	p := g.dialHost(1234, 80)
	c := acceptOne(t, l)
	p.say("hello host")
	if got := read(t, c, 10); got != "hello host" {
		t.Errorf("host read %q", got)
	}
	write(t, c, "hello guest")
	if got := p.hear(11); got != "hello guest" {
		t.Errorf("guest read %q", got)
	}
	p.shut(shutBoth)
	g.expect(opReset)
	ends(t, c)
	p.say("into nothing")
	g.expect(opReset)
	p = g.dialHost(1234, 80) // the port is free again
	c = acceptOne(t, l)
	c.Close()
	if h, _ := g.expect(opShutdown); h.flags != shutBoth {
		t.Errorf("shut with flags %d", h.flags)
	}
	p.send(p.header(opReset), nil)
	g.quiet()
}

func TestNobodyListensOnHost(t *testing.T) {
	for name, path := range map[string]string{"no socket": socketPath(t), "no path": ""} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, newDevice(t, Config{Path: path}), virtiotest.Options{})
			g.send(header{srcPort: 5, dstPort: 80, op: opRequest}, nil)
			if h, _ := g.expect(opReset); h.srcPort != 80 || h.dstPort != 5 {
				t.Errorf("%v", h)
			}
		})
	}
}

func TestClientConnectsToGuest(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	early := dialUnix(t, path) // before there is a driver
	write(t, early, "CONNECT 52\nand more")
	g := newGuest(t, d, virtiotest.Options{})
	p := g.acceptHost(52)
	if got := p.hear(8); got != "and more" {
		t.Errorf("guest read %q", got)
	}
	p.say("welcome")
	want := fmt.Sprintf("OK %d\nwelcome", p.host)
	if got := read(t, early, len(want)); got != want {
		t.Errorf("client read %q, want %q", got, want)
	}
	slow := dialUnix(t, path)
	for _, s := range []string{"CONN", "ECT ", "4294967295", "\n"} {
		write(t, slow, s)
		time.Sleep(time.Millisecond)
	}
	h, _ := g.expect(opRequest)
	g.send(header{srcPort: h.dstPort, dstPort: h.srcPort, op: opReset}, nil)
	if h.dstPort != 1<<32-1 {
		t.Errorf("port %d", h.dstPort)
	}
	ends(t, slow)
}

func TestBadGreetings(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	g := newGuest(t, d, virtiotest.Options{})
	for _, s := range []string{"\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT -1\n", "CONNECT 4294967296\n", "connect 1\n", "GET / HTTP/1.1\r\n", "CONNECT 0000000000000001\n"} {
		c := dialUnix(t, path)
		write(t, c, s)
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: %v", s, err)
		}
	}
	c := dialUnix(t, path)
	c.(*net.UnixConn).CloseWrite()
	ends(t, c)
	g.quiet()
}

func TestBulkBothWays(t *testing.T) {
	for _, o := range []virtiotest.Options{{}, {Indirect: true, EventIdx: true}, {Packed: true, EventIdx: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			d := newDevice(t, Config{Buffer: 16 << 10})
			g := newGuest(t, d, o)
			c, p := dialGuest(t, d, g, 1)
			up, down := pattern(1<<20, 1), pattern(1<<20, 2)
			var both sync.WaitGroup
			both.Go(func() {
				if _, err := c.Write(down); err != nil {
					t.Error(err)
				}
				c.CloseWrite()
			})
			both.Go(func() {
				if got := read(t, c, len(up)); got != string(up) {
					t.Error("the host received something else")
				}
			})
			p.bulk(up, down)
			both.Wait()
			p.shut(shutBoth)
			g.expect(opReset)
		})
	}
}

// bulk sends up as credit allows while it takes down, and answers for credit.
func (p *peer) bulk(up, down []byte) {
	p.t.Helper()
	var got []byte
	shut := false
	for len(got) < len(down) || len(up) > 0 || !shut {
		room := p.credit.bufAlloc - (p.sent - p.credit.fwdCnt)
		if n := min(len(up), int(room), 10_000); n > 0 {
			p.say(string(up[:n]))
			up = up[n:]
			continue
		}
		h, body := p.receive()
		switch p.credit = h; h.op {
		case opData:
			got = append(got, body...)
			p.got += h.length
			p.send(p.header(opCreditUpdate), nil)
		case opCreditRequest:
			p.send(p.header(opCreditUpdate), nil)
		case opShutdown:
			shut = h.flags == shutSend
		case opCreditUpdate:
		default:
			p.t.Fatalf("%v", h)
		}
	}
	if !bytes.Equal(got, down) {
		p.t.Error("the guest received something else")
	}
}

// ask returns the bytes of credit that the host gives, when it has come to
// rest.
func (p *peer) ask() uint32 {
	p.t.Helper()
	p.send(p.header(opCreditRequest), nil)
	p.credit, _ = p.receive()
	time.Sleep(10 * time.Millisecond)
	for p.Queues[queueRx].WantInterrupts(true) { // there is another
		p.credit, _ = p.receive()
	}
	if p.credit.op != opCreditUpdate {
		p.t.Fatalf("%v", p.credit)
	}
	return p.credit.bufAlloc - (p.sent - p.credit.fwdCnt)
}

func TestHostThatDoesNotRead(t *testing.T) {
	const buffer = 64 << 10
	d := newDevice(t, Config{Buffer: buffer})
	g := newGuest(t, d, virtiotest.Options{})
	c, p := dialGuest(t, d, g, 1)
	total := 0
	for room := p.ask(); room > 0; room = p.ask() {
		n := min(int(room), 40_000)
		p.say(string(pattern(n, byte(total))))
		if total += n; total > 16<<20 {
			t.Fatal("a socket that is never full")
		}
	}
	read(t, c, total)
	for p.credit.bufAlloc-(p.sent-p.credit.fwdCnt) <= buffer*3/4 { // told without having asked
		if p.credit, _ = p.receive(); p.credit.op != opCreditUpdate {
			t.Fatalf("%v", p.credit)
		}
	}
	if room := p.ask(); room != buffer {
		t.Errorf("%d bytes of credit after all was read, want %d", room, buffer)
	}
	p.say(string(pattern(buffer+1, 0)))
	p.expect(opReset)
	ends(t, c)
}

func TestGuestThatDoesNotRead(t *testing.T) {
	d := newDevice(t, Config{})
	g := newGuest(t, d, virtiotest.Options{})
	c, p := dialGuest(t, d, g, 1)
	p.bufAlloc = 10_000
	p.send(p.header(opCreditUpdate), nil)
	want := pattern(25_000, 3)
	go c.Write(want)
	got := 0
	for got < 10_000 {
		_, body := p.expect(opData)
		got += len(body)
	}
	if h, _ := p.receive(); h.op != opCreditRequest || got != 10_000 {
		t.Errorf("%v after %d bytes", h, got)
	}
	g.quiet()
	p.bufAlloc = 4000 // less than what is on the way
	p.send(p.header(opCreditUpdate), nil)
	if h, _ := p.receive(); h.op != opCreditRequest {
		t.Errorf("%v with a buffer grown smaller", h)
	}
	p.got, p.bufAlloc = 10_000, 15_000
	p.send(p.header(opCreditUpdate), nil)
	if rest := p.hear(15_000); rest != string(want[10_000:]) {
		t.Error("the guest received something else")
	}
}

func TestHalfClosed(t *testing.T) {
	d := newDevice(t, Config{})
	g := newGuest(t, d, virtiotest.Options{})
	c, p := dialGuest(t, d, g, 1)
	write(t, c, "question")
	c.CloseWrite()
	if got := p.hear(8); got != "question" {
		t.Errorf("guest read %q", got)
	}
	if h, _ := g.expect(opShutdown); h.flags != shutSend {
		t.Errorf("flags %d", h.flags)
	}
	p.say("answer")
	p.shut(shutBoth)
	if got, err := io.ReadAll(c); err != nil || string(got) != "answer" {
		t.Errorf("host read %q, %v", got, err)
	}
	g.expect(opReset)

	c, p = dialGuest(t, d, g, 1)
	p.say("question")
	p.shut(shutSend)
	if got, err := io.ReadAll(c); err != nil || string(got) != "question" {
		t.Errorf("host read %q, %v", got, err)
	}
	write(t, c, "answer")
	if got := p.hear(6); got != "answer" {
		t.Errorf("guest read %q", got)
	}
	c.Close()
	if h, _ := g.expect(opShutdown); h.flags != shutBoth {
		t.Errorf("flags %d", h.flags)
	}
	p.send(p.header(opReset), nil)

	c, p = dialGuest(t, d, g, 1)
	p.shut(shutReceive)
	for _, err := c.Write([]byte("x")); err == nil; _, err = c.Write([]byte("x")) {
		time.Sleep(time.Millisecond)
	}
	c.Close()
	if h, _ := g.expect(opShutdown); h.flags != shutBoth {
		t.Errorf("flags %d", h.flags)
	}
}

// What a guest has sent arrives even if it is gone and the host reads late.
func TestLastWordsOfGuest(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"shutdown": func(p *peer) { p.shut(shutBoth); p.expect(opReset) },
		"reset":    func(p *peer) { p.send(p.header(opReset), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			path := socketPath(t)
			d := newDevice(t, Config{Path: path, Buffer: 1 << 20})
			l := hostListens(t, path, 9)
			g := newGuest(t, d, virtiotest.Options{})
			p := g.dialHost(1, 9)
			c := acceptOne(t, l)
			want := pattern(900_000, 4) // more than a socket holds
			for at := 0; at < len(want); at += 50_000 {
				p.say(string(want[at : at+50_000]))
			}
			end(p)
			time.Sleep(5 * time.Millisecond)
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
				t.Errorf("host read %d bytes of %d (%v)", len(got), len(want), err)
			}
		})
	}
}

func TestListen(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	hostListens(t, path, 7) // comes second
	l, err := d.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Listen(7); err == nil {
		t.Error("two listen on one port")
	}
	for range 2 { // it outlives a guest
		g := newGuest(t, d, virtiotest.Options{})
		p := g.dialHost(44, 7)
		c := acceptOne(t, l)
		if c.RemoteAddr() != (Addr{testCID, 44}) || c.LocalAddr() != (Addr{HostCID, 7}) || l.Addr().String() != "vsock://2:7" {
			t.Errorf("%v connected to %v", c.RemoteAddr(), c.LocalAddr())
		}
		p.say("hello")
		if got := read(t, c, 5); got != "hello" {
			t.Errorf("host read %q", got)
		}
		g.Reset()
		ends(t, c)
	}
	g := newGuest(t, d, virtiotest.Options{})
	for i := range Port(backlog) {
		g.dialHost(i, 7)
	}
	g.send(header{srcPort: 5000, dstPort: 7, op: opRequest}, nil)
	g.expect(opReset) // the backlog is full
	accepted := make(chan error, 1)
	l.Close()
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for range backlog {
		if h, _ := g.expect(opShutdown); h.flags != shutBoth {
			t.Errorf("flags %d", h.flags)
		}
	}
}

func TestDialFails(t *testing.T) {
	d := newDevice(t, Config{MaxConns: 2})
	if _, err := d.Dial(context.Background(), 1); !errors.Is(err, errNotReady) {
		t.Errorf("without a driver: %v", err)
	}
	g := newGuest(t, d, virtiotest.Options{})
	result := make(chan error, 1)
	dial := func(ctx context.Context) {
		go func() {
			_, err := d.Dial(ctx, 1)
			result <- err
		}()
	}
	dial(context.Background())
	h, _ := g.expect(opRequest)
	g.send(header{srcPort: h.dstPort, dstPort: h.srcPort, op: opReset}, nil)
	if err := <-result; !errors.Is(err, errRefused) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	dial(ctx)
	h, _ = g.expect(opRequest)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if r, _ := g.expect(opReset); r.srcPort != h.srcPort {
		t.Errorf("%v, want the request taken back", r)
	}
	dialGuest(t, d, g, 1)
	dialGuest(t, d, g, 1)
	dial(context.Background())
	if err := <-result; !errors.Is(err, errFull) {
		t.Errorf("with all connections in use: %v", err)
	}
	g.send(header{srcPort: 1, dstPort: 1, op: opRequest}, nil)
	g.expect(opReset)
	g.Reset()
	if _, err := d.Dial(context.Background(), 1); !errors.Is(err, errNotReady) {
		t.Errorf("after a reset: %v", err)
	}
}

func TestResetEndsDial(t *testing.T) {
	d := newDevice(t, Config{})
	for range 20 {
		g := newGuest(t, d, virtiotest.Options{})
		result := make(chan error, 1)
		go func() {
			_, err := d.Dial(context.Background(), 1)
			result <- err
		}()
		g.Reset()
		if err := <-result; !errors.Is(err, errNotReady) {
			t.Fatalf("%v", err)
		}
	}
}

// A guest that asks and does not listen to the answers is not listened to.
func TestAnswersAreBounded(t *testing.T) {
	d := newDevice(t, Config{})
	g := newGuest(t, d, virtiotest.Options{})
	ring, strays := g.Queues[queueTx], 4*dataEntries
	posted, taken := 0, 0
	post := func() {
		for posted-taken < dataEntries/2 && posted < strays { // a packet is two descriptors
			g.post(header{srcPort: 9, dstPort: 10, op: opData}, nil)
			posted++
		}
	}
	for last := time.Now(); time.Since(last) < 200*time.Millisecond; {
		post()
		if _, _, ok := ring.Used(); ok {
			taken++
			last = time.Now()
		}
	}
	if most := maxReplies + rxSupply; taken > most {
		t.Fatalf("%d packets were heard, at most %d answers can wait", taken, most)
	}
	for answers := 0; answers < strays; answers++ {
		g.expect(opReset)
		for _, _, ok := ring.Used(); ok; _, _, ok = ring.Used() {
			taken++
		}
		post()
	}
	g.quiet()
}

func TestStrays(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	l := hostListens(t, path, 80)
	g := newGuest(t, d, virtiotest.Options{})
	for _, o := range []op{0, opResponse, opShutdown, opData, opCreditUpdate, opCreditRequest, 99} {
		g.send(header{srcPort: 1, dstPort: 80, op: o}, nil)
		g.expect(opReset)
	}
	g.send(header{srcPort: 1, dstPort: 80, op: opRequest, kind: 2}, nil) // SOCK_SEQPACKET
	if h, _ := g.expect(opReset); h.kind != 2 {
		t.Errorf("kind %d", h.kind)
	}
	g.send(header{srcPort: 1, dstPort: 80, op: opReset}, nil)
	g.postRaw(make([]byte, headerSize-1))
	g.Queues[queueTx].Wait()
	for _, h := range []header{{srcCID: testCID + 1, dstCID: HostCID}, {srcCID: testCID, dstCID: 3}} { // not its own, not for us
		h.srcPort, h.dstPort, h.kind, h.op = 1, 80, typeStream, opRequest
		var p [headerSize]byte
		h.encode(&p)
		g.postRaw(p[:])
		g.Queues[queueTx].Wait()
	}
	g.quiet()
	for name, break1 := range map[string]func(p *peer){
		"second request": func(p *peer) { p.send(p.header(opRequest), nil) },
		"response":       func(p *peer) { p.send(p.header(opResponse), nil) },
		"unknown":        func(p *peer) { p.send(p.header(50), nil) },
		"data after its end": func(p *peer) {
			p.shut(shutSend)
			p.say("x")
		},
		"shorter than it says": func(p *peer) {
			h := p.header(opData)
			h.srcCID, h.dstCID, h.kind, h.length = testCID, HostCID, typeStream, 10
			var b [headerSize]byte
			h.encode(&b)
			p.postRaw(append(b[:], "123456789"...))
			p.Queues[queueTx].Wait()
		},
	} {
		p := g.dialHost(1, 80)
		c := acceptOne(t, l)
		break1(p)
		if h, _ := g.expect(opReset); h.dstPort != 1 {
			t.Errorf("%s: %v", name, h)
		}
		ends(t, c)
	}
}

func TestGuestBreaksTheRing(t *testing.T) {
	outside := []virtq.Span{{GPA: 1 << 40, Len: 4096}}
	for name, c := range map[string]struct {
		queue              int
		readable, writable []virtq.Span
	}{
		"packet outside RAM":   {queueTx, outside, nil},
		"buffer outside RAM":   {queueRx, nil, outside},
		"buffer for no packet": {queueRx, nil, []virtq.Span{{GPA: 0, Len: headerSize}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, Config{})
			m := virtiotest.Start(t, d, virtiotest.Options{}, 0)
			m.Queues[c.queue].Add(c.readable, c.writable)
			m.Queues[c.queue].Kick()
			go d.Dial(context.Background(), 1) // so that there is something to say
			select {
			case err := <-m.Failed:
				if err == nil {
					t.Error("failed without an error")
				}
			case <-time.After(virtiotest.Patience):
				t.Fatal("the device did not notice")
			}
			if _, err := d.Dial(context.Background(), 1); !errors.Is(err, errNotReady) {
				t.Errorf("Dial on a device that failed: %v", err)
			}
		})
	}
}

func TestPathIsTakenOverOnlyFromTheDead(t *testing.T) {
	path := socketPath(t)
	d := newDevice(t, Config{Path: path})
	if _, err := New(Config{CID: 4, Path: path}); err == nil {
		t.Error("a path in use was taken")
	}
	l, err := net.Listen("unix", path+"x")
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	newDevice(t, Config{Path: path + "x"})
	if err := os.WriteFile(path+"y", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{CID: 4, Path: path + "y"}); err == nil {
		t.Error("a file was taken for a socket")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{
		{CID: 2}, {CID: 1<<32 - 1}, {CID: 3, MaxConns: -1}, {CID: 3, Buffer: 4095}, {CID: 3, Buffer: maxBuffer + 1}, {CID: 3, Path: strings.Repeat("p", maxPath+1)},
	} {
		if d, err := New(c); err == nil {
			d.Close()
			t.Errorf("New(%+v) was taken", c)
		}
	}
	d := newDevice(t, Config{})
	if err := d.Activate(virtio.Activation{Queues: make([]*virtio.Queue, 3)}); err == nil {
		t.Error("a driver without queues was taken")
	}
}
