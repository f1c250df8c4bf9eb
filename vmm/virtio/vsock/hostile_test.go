package vsock

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

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
			m.WaitFailed()
			if _, err := d.Dial(context.Background(), 1); !errors.Is(err, errNotReady) {
				t.Errorf("Dial on a device that failed: %v", err)
			}
		})
	}
}
