package global

import (
	"context"
	"fmt"
	"time"

	"splitvm/remote"
	"splitvm/remote/api"
)

// keptEvents is how many of the last events etcd and memory hold.
const keptEvents = 2000

// events are the last things that happened. Guarded by leader.mu, but for the
// watchers' channels.
type events struct {
	last    []*api.Event
	pending bool
	changed chan struct{} // closed when there are new ones
}

func (e *events) init() { e.changed = make(chan struct{}) }

// restore takes an event from etcd, which gives them in order.
func (e *events) restore(x *api.Event) { e.last = append(e.last, x) }

// publish tells the watchers what was written.
func (e *events) publish() {
	if e.pending {
		close(e.changed)
		e.changed, e.pending = make(chan struct{}), false
	}
}

// about is what an event is about.
type about struct {
	vnode, member, vregion uint64
	subject                string
}

// attributes are those of a log's line: what the thing is about, in the words of all logs.
func (a about) attributes() []any {
	list := []any{"subject", a.subject}
	if a.vnode != 0 {
		list = append(list, "vID", a.vnode)
	}
	if a.member != 0 {
		list = append(list, "member", a.member)
	}
	if a.vregion != 0 {
		list = append(list, "vRegion", remote.VRegionID(a.vregion).String())
	}
	return list
}

// happened adds an event to a change, and logs it.
func (l *leader) happened(c *change, kind string, of about, format string, args ...any) {
	e := &api.Event{Seq: l.next(c, "event"), UnixMs: time.Now().UnixMilli(), Kind: kind,
		Vnode: of.vnode, Member: of.member, Vregion: of.vregion, Subject: of.subject, Text: fmt.Sprintf(format, args...)}
	c.put(idKey(keyEvent, e.Seq), e)
	l.events.last = append(l.events.last, e)
	if extra := len(l.events.last) - keptEvents; extra > 0 {
		for _, old := range l.events.last[:extra] {
			c.remove(idKey(keyEvent, old.Seq))
		}
		l.events.last = append([]*api.Event(nil), l.events.last[extra:]...)
	}
	l.events.pending = true
	l.log.Info(kind, append(of.attributes(), "text", e.Text)...)
}

// after returns the events after seq, and what is closed when there are more.
func (l *leader) after(seq uint64) ([]*api.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.events.last
	for len(list) > 0 && list[0].Seq <= seq {
		list = list[1:]
	}
	return append([]*api.Event(nil), list...), l.events.changed
}

// watch sends events until ctx or the leadership ends, or, without follow, all
// have been sent.
func (l *leader) watch(ctx context.Context, seq uint64, follow bool, send func(*api.Event) error) error {
	for {
		list, more := l.after(seq)
		for _, e := range list {
			if err := send(e); err != nil {
				return err
			}
			seq = e.Seq
		}
		if !follow {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return notLeading(context.Cause(l.ctx))
		}
	}
}
