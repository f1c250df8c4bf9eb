package client

import (
	"splitvm/remote/onesided"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// share maps the lines of a monitor that shares them over conn, for as long as conn is
// the link's; unshare ends that. Only demands are read so: where nobody waits, the
// monitor's processor time is as good as this process's.
func (l *link) share(conn transport.Conn) (unshare func()) {
	files := transport.FilesOf(conn)
	if len(files) != 2 || l.class != wire.Demand {
		return func() {}
	}
	r, err := onesided.Open(files[0], files[1])
	if err != nil {
		l.client.cfg.Log.Warn("lines of the memory monitor on this host are asked for one by one", "peer", conn.Peer(), "err", err)
		return func() {}
	}
	l.lines.Store(r)
	return func() {
		l.lines.Store(nil)
		r.Close()
	}
}

// readHere does a READ without a message, if it can. That is as good as one: the monitor
// has answered this incarnation's HELLO, so no request of an older one is under way, and
// what it has acknowledged is in its index.
func (l *link) readHere(r *Request) bool {
	lines := l.lines.Load()
	if lines == nil || r.Op != wire.Read {
		return false
	}
	zero, ok := lines.Read(r.At, r.Runs, r.Mem)
	if ok {
		r.Zero = zero
		l.client.here.Add(uint64(r.lines))
	}
	return ok
}
