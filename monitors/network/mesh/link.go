package mesh

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/monitors/network/mesh/wire"
)

const (
	// linkBytes is what waits for a connection, at the most.
	linkBytes = 4 << 20

	dialTime   = 5 * time.Second
	firstPause = 20 * time.Millisecond
	longPause  = time.Second
	// deadTime is after which a host that does not acknowledge is taken for gone.
	deadTime = 5 * time.Second
)

// link is the connection by which frames go to another host.
type link struct {
	to    string
	hello wire.Hello
	log   *slog.Logger

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	ended  sync.WaitGroup

	sent, dropped, connects atomic.Uint64 // frames, frames, connections

	mu      sync.Mutex
	direct  syscall.RawConn // to send by at once; nil: no connection, or drain is sending; guarded by mu
	waiting []byte          // what is to be sent by drain, from the rest of a message on; guarded by mu
	frames  uint64          // in waiting; guarded by mu
	more    chan struct{}   // has room for one: waiting is not empty any more
}

func newLink(to string, h wire.Hello, log *slog.Logger) *link {
	l := &link{to: to, hello: h, log: log, more: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.ended.Go(l.run)
	return l
}

// close ends the connection; what waits is lost.
func (l *link) close() {
	l.cancel()
	l.ended.Wait()
}

// send does not wait.
func (l *link) send(from uint64, frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.direct != nil && len(l.waiting) == 0 {
		head := wire.Header(from, len(frame))
		n := tryWrite(l.direct, head[:], frame)
		if n == len(head)+len(frame) {
			l.sent.Add(1)
			return
		}
		l.waiting = append(l.waiting, head[min(n, len(head)):]...)
		l.waiting = append(l.waiting, frame[max(0, n-len(head)):]...)
	} else {
		if len(l.waiting)+len(frame) > linkBytes {
			l.dropped.Add(1)
			return
		}
		l.waiting = wire.AppendFrame(l.waiting, from, frame)
	}
	if l.frames++; l.frames == 1 {
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
}

// tryWrite writes as much as there is room for. An error is for drain to find.
func tryWrite(c syscall.RawConn, parts ...[]byte) (n int) {
	c.Write(func(fd uintptr) bool {
		n, _ = unix.Writev(int(fd), parts)
		return true
	})
	return max(0, n)
}

// take exchanges the buffers: what waits for the one that was sent. If nothing waits,
// messages are sent at once from here on.
func (l *link) take(done []byte, c syscall.RawConn) (b []byte, frames uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, frames = l.waiting, l.frames
	l.waiting, l.frames, l.direct = done[:0], 0, nil
	if len(b) == 0 {
		l.direct = c
	}
	return b, frames
}

// run has a connection until the link is closed.
func (l *link) run() {
	last := ""
	for pause := firstPause; l.ctx.Err() == nil; {
		connected, err := l.serve()
		if l.ctx.Err() != nil {
			return
		}
		if text := err.Error(); connected || text != last {
			l.log.Warn("network: no connection with another host: trying again", "to", l.to, "err", err)
			last = text
		}
		if connected {
			pause = firstPause
		}
		_, lost := l.take(nil, nil) // they are late
		l.dropped.Add(lost)
		select {
		case <-l.ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// serve connects and sends until the connection is lost.
func (l *link) serve() (connected bool, err error) {
	conn, err := l.connect()
	if err != nil {
		return false, err
	}
	lost, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	var ended sync.WaitGroup
	defer ended.Wait()
	defer conn.Close()
	ended.Go(func() { // nothing comes but the end
		_, err := io.Copy(io.Discard, conn)
		if err == nil {
			err = errors.New("the other host ended it")
		}
		cancel(err)
	})
	stop := context.AfterFunc(lost, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(l.hello.Encode()); err != nil {
		return false, err
	}
	l.connects.Add(1)
	l.log.Info("network: connected with another host", "to", l.to)
	return true, l.drain(lost, conn)
}

// drain sends what waits.
func (l *link) drain(ctx context.Context, conn net.Conn) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var done []byte
	for {
		b, frames := l.take(done, raw)
		done = b
		if len(b) > 0 {
			if _, err := conn.Write(b); err != nil {
				l.dropped.Add(frames)
				return err
			}
			l.sent.Add(frames)
			continue
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *link) connect() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, dialTime)
	defer cancel()
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadTime, Interval: time.Second, Count: 5}}
	c, err := d.DialContext(ctx, "tcp", l.to)
	if err != nil {
		return nil, err
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadTime/time.Millisecond))
		})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
