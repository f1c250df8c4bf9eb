package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept"
	"splitvm/ept/excache"
	"splitvm/ept/uffd"
	"splitvm/remote"
	"splitvm/remote/threads"
)

// Peer is a memory monitor with a connection of its own.
type Peer interface {
	ept.Monitor
	remote.VRegions
	io.Closer
}

// Dialer connects to memory monitors.
type Dialer interface {
	// Dial returns the monitor at an address, under a session whose older
	// incarnations (pagers that were killed) are fenced from now on: nothing that
	// they sent takes effect any more. It may return before it is connected, if
	// requests that are started meanwhile wait for that.
	Dial(ctx context.Context, addr string, session remote.SessionID, incarnation uint64) (Peer, error)
}

// Serve is a pager for one VMM on conn: it receives the guest, serves it, and answers
// the VMM, until that hangs up or ctx ends (nil), or it fails. It closes conn.
func Serve(ctx context.Context, conn *net.UnixConn, dialer Dialer) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	m, fds, err := receiveWithFiles(conn)
	if err != nil {
		return fmt.Errorf("receive guest memory: %w", err)
	}
	v := &vnode{conn: conn, fds: fds, ready: make(chan struct{}), noted: make(chan *Message, 1)}
	defer v.close()
	if m.Attach == nil {
		return fmt.Errorf("receive guest memory: %w: not an attach", errMessage)
	}
	if err := v.start(ctx, m.Attach, dialer); err != nil {
		v.answer(&Message{ID: m.ID, Failed: &Failed{Text: err.Error()}})
		return fmt.Errorf("serve vNode %q: %w", m.Attach.VNode, err)
	}
	v.answer(&Message{ID: m.ID, Ready: &Ready{PID: os.Getpid(), Generation: v.table.Generation()}})
	close(v.ready)
	return v.run(ctx)
}

// vnode is what Serve holds.
type vnode struct {
	conn  *net.UnixConn
	fds   []int
	mem   []byte // the table's mapping
	table *excache.Table
	peers *peers
	place *placement
	pager *ept.Pager

	ctx  context.Context // ends when the VMM hangs up
	wg   sync.WaitGroup  // of requests that take long
	mu   sync.Mutex      // serializes messages
	move sync.Mutex      // one move at a time
	dial sync.Mutex      // over dialing a monitor and giving it something to own, or hanging up on it for want of that

	ready chan struct{} // closed when the VMM was told Ready, which is the first that it is told
	noted chan *Message // the VMM's answers to Moved
}

// start checks what was handed over, connects to the monitors and starts the pager.
func (v *vnode) start(ctx context.Context, a *Attach, dialer Dialer) error {
	if len(v.fds) != a.Layout.Shards+2 {
		return fmt.Errorf("%w: %d descriptors for %d shards", errMessage, len(v.fds), a.Layout.Shards)
	}
	if err := v.openTable(v.fds[1]); err != nil {
		return err
	}
	cfg := ept.Config{Layout: a.Layout, Table: v.table, TableFile: v.fds[1], Memory: v.fds[0],
		Capacity: a.Capacity, Policy: a.Policy, Prefetch: a.Prefetch, Deadline: time.Duration(a.DeadlineN)}
	for _, fd := range v.fds[2:] {
		f, err := uffd.FromFD(fd)
		if err != nil {
			return err
		}
		cfg.Faults = append(cfg.Faults, f)
	}
	generation, err := v.table.NextGeneration()
	if err != nil {
		return err
	}
	v.peers = &peers{dialer: dialer, session: a.Session, generation: generation}
	for _, addr := range a.Monitors {
		i, err := v.peers.dial(ctx, addr)
		if err != nil {
			return err
		}
		cfg.Monitors = append(cfg.Monitors, v.peers.of(i))
	}
	v.place = newPlacement(a, v.peers, func(i uint32) {
		<-v.ready
		v.answer(&Message{Place: &Place{Index: i}})
	})
	cfg.Placement = v.place
	if err := threads.Block(len(cfg.Faults)); err != nil {
		slog.Debug("pager's threads", "err", err)
	}
	v.pager, err = ept.Start(cfg)
	return err
}

// openTable maps the line table, which must not be able to shrink under us.
func (v *vnode) openTable(fd int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return fmt.Errorf("line table is not sealed against shrinking (seals %#x): %w", seals, errors.Join(err, excache.ErrTable))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at line table: %w", err)
	}
	if st.Size <= 0 || st.Size > excache.FileSize(excache.MaxLines) {
		return fmt.Errorf("%w: %d bytes", excache.ErrTable, st.Size)
	}
	if v.mem, err = unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE); err != nil {
		return fmt.Errorf("map line table: %w", err)
	}
	v.table, err = excache.OpenTable(v.mem)
	return err
}

// run answers requests until the VMM hangs up, and reports a failure.
func (v *vnode) run(ctx context.Context) error {
	hungUp := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v.ctx = ctx
	go func() {
		for {
			m, err := receive(v.conn)
			if err != nil {
				hungUp <- err
				return
			}
			v.request(m)
		}
	}()
	select {
	case err := <-hungUp:
		if errors.Is(err, errMessage) {
			return err
		}
		return nil
	case <-v.pager.Failed():
	}
	f := v.pager.Failure()
	v.answer(&Message{Failed: &Failed{GPA: f.Line, VRegion: f.VRegion, Owners: f.Owners, Text: f.Error()}})
	<-hungUp // the VMM stops the vNode, and looks at the rest if it likes
	return f
}

// request does what the VMM asks for.
func (v *vnode) request(m *Message) {
	answer := &Message{ID: m.ID}
	switch {
	case m.Resize != nil:
		answer.Done = done(v.pager.Resize(m.Resize.Capacity))
	case m.Discard != nil: // waits for monitors, and others shouldn't wait for it
		v.wg.Go(func() {
			answer.Done = done(v.pager.Discard(m.Discard.GPA, m.Discard.Size))
			v.answer(answer)
		})
		return
	case m.Move != nil: // likewise
		v.wg.Go(func() {
			answer.Done = done(v.moveRegion(m.Move))
			v.answer(answer)
		})
		return
	case m.Placed != nil: // may have to connect to monitors
		v.wg.Go(func() { v.placed(m.Placed) })
		return
	case m.Done != nil:
		select {
		case v.noted <- m:
		default: // nobody asked
		}
		return
	case m.Stats != nil:
		stats := v.pager.Stats()
		answer.Report = &stats
	default:
		answer.Done = &Done{Refused: "this pager doesn't know the request"}
	}
	v.answer(answer)
}

func done(err error) *Done {
	if err != nil {
		return &Done{Refused: err.Error()}
	}
	return &Done{}
}

// answer sends m; the VMM's hanging up is noticed by the reader.
func (v *vnode) answer(m *Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = send(v.conn, m, nil)
}

// close stops the pager and gives everything back, in this order: monitors may
// call the pager until they are closed.
func (v *vnode) close() {
	if v.pager != nil {
		v.pager.Close()
	}
	if v.peers != nil {
		v.peers.close() // fails what is under way
	}
	v.wg.Wait()
	if v.mem != nil {
		unix.Munmap(v.mem)
	}
	closeAll(v.fds)
}
