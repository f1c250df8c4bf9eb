package trouble

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"splitvm/integration/require"
)

// deadline is what a line has in these tests, and patience what a vNode may take
// from the loss to its end: the deadline, what the vNode's threads have to get
// out, and a busy host.
const (
	deadline = 5 * time.Second
	patience = 2 * time.Minute
)

// TestLostMemory: a guest whose memory is lost does not hang. `splitvm run` ends
// with an error that names the vRegion, its owner, the reason, and what to do.
func TestLostMemory(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	binary := build(t)
	for _, tt := range []struct {
		name, mem string
		reason    string
		lose      func(t *testing.T, m *monitorCommand, p *proxy)
	}{
		{"killed", "128M", "connection refused", func(t *testing.T, m *monitorCommand, _ *proxy) { must(t, m.cmd.Process.Kill()) }},
		{"stopped", "128M", "no answer within the deadline", func(t *testing.T, m *monitorCommand, _ *proxy) { must(t, m.cmd.Process.Signal(syscall.SIGSTOP)) }},
		{"cut off", "128M", "connection refused", func(_ *testing.T, _ *monitorCommand, p *proxy) { p.close() }},
		{"started anew", "128M", "monitor was restarted", func(t *testing.T, m *monitorCommand, _ *proxy) {
			must(t, m.cmd.Process.Kill())
			m.cmd.Wait()
			runMonitor(t, binary, m.addr, "128M")
		}},
		{"full", "24M", "full", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			m := runMonitor(t, binary, freeAddress(t), tt.mem)
			addr, p := m.addr, (*proxy)(nil)
			if tt.name == "cut off" {
				p = newProxy(t, m.addr)
				addr = p.l.Addr().String()
			}
			v := runVNode(ctx, t, binary, "--memory-monitor", addr, "--memory-deadline", deadline.String())
			if tt.lose != nil {
				v.passes(t, 1)
				tt.lose(t, m, p)
			}
			began := time.Now()
			select {
			case <-v.over:
			case <-time.After(patience):
				t.Fatalf("the vNode is still there %v after its memory was lost", patience)
			}
			t.Logf("%v after the loss: %s", time.Since(began).Round(time.Millisecond), &v.out)
			if v.cmd.ProcessState.ExitCode() != 125 {
				t.Errorf("ended with %v, want 125", v.cmd.ProcessState)
			}
			for _, want := range []string{"remote memory", "guest memory at 0x", "vr-", addr, "can't be served", tt.reason, "start the vNode again"} {
				if !strings.Contains(v.out.String(), want) {
					t.Errorf("the error does not say %q", want)
				}
			}
		})
	}
}

// TestCutConnections: a guest goes on when the connections to its monitor are cut
// and can be made again.
func TestCutConnections(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	binary := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	m := runMonitor(t, binary, freeAddress(t), "128M")
	p := newProxy(t, m.addr)
	v := runVNode(ctx, t, binary, "--memory-monitor", p.l.Addr().String())
	for range 5 {
		v.passes(t, 1)
		if p.cut() == 0 {
			t.Fatal("there was no connection to cut")
		}
	}
	v.passes(t, 2)
}

// proxy forwards connections to a monitor, until they are cut.
type proxy struct {
	l    net.Listener
	to   string
	over sync.WaitGroup

	most    int64         // bytes to the monitor before it holds what comes; 0: no end
	passed  atomic.Int64  // to the monitor
	held    chan struct{} // closed when it holds something
	hold    func()        // closes held
	goOn    chan struct{} // closed by release
	release func()        // what is held goes on, and all that comes

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func newProxy(t testing.TB, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{l: l, to: to, held: make(chan struct{}), goOn: make(chan struct{})}
	p.hold = sync.OnceFunc(func() { close(p.held) })
	p.release = sync.OnceFunc(func() { close(p.goOn) })
	p.over.Go(p.accept)
	t.Cleanup(func() {
		p.close()
		p.release()
		p.over.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", p.to)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, c, s)
		p.mu.Unlock()
		p.over.Go(func() { forward(c, s) })
		p.over.Go(func() { forward(holding{s, p}, c) })
	}
}

// holdAfter has the proxy hold up the monitor's peers after so many bytes, before there
// is a connection.
func (p *proxy) holdAfter(bytes int64) { p.most = bytes }

// holding is the monitor's end of a connection.
type holding struct {
	net.Conn
	p *proxy
}

// Write waits where the proxy holds what comes. It hides what io.Copy would use instead.
func (h holding) Write(b []byte) (int, error) {
	if h.p.passed.Add(int64(len(b))) > h.p.most && h.p.most > 0 {
		h.p.hold()
		<-h.p.goOn
	}
	return h.Conn.Write(b)
}

// forward ends with either side, and ends both.
func forward(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

// cut ends all connections and tells how many there were.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.conns)
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
	return n
}

// close refuses connections from now on, and cuts those that are there.
func (p *proxy) close() {
	p.l.Close()
	p.cut()
}
