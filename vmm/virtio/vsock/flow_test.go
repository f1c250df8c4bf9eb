package vsock

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"splitvm/vmm/virtio/virtiotest"
)

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
	room := p.ask()
	for end := time.Now().Add(virtiotest.Patience); room != buffer && time.Now().Before(end); room = p.ask() {
	} // what was said last may be on its way to the socket still
	if room != buffer {
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
