package volume

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/vmm/virtio/block"
)

const (
	sendMax    = 256 << 10 // bytes of a sending
	maxSending = 16        // under way at once
)

// sending is adjacent blocks on their way to the volume, with a copy of their contents.
type sending struct {
	block.Request
	c        *cached
	first, n uint64
	buf      []byte
	closing  bool // began while closing
}

// enough is how many blocks may be dirty without a reason to send any.
func (c *cached) enough() int { return c.index.MaxDirty() * 2 / 3 }

// poke has the sender look.
func (c *cached) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send sends what is due, until close.
func (c *cached) send() {
	defer close(c.over)
	for {
		batch, ready, dirty, end := c.take()
		c.goOn(ready)
		for _, s := range batch {
			c.d.start(&s.Request, s)
		}
		if len(batch) > 0 {
			c.d.v.Send()
		}
		var later <-chan time.Time
		switch {
		case end:
			return
		case dirty:
			later = time.After(retryTime)
		}
		select {
		case <-c.wake:
		case <-later:
		}
	}
}

// take makes copies of what is due. It returns what waits no more after that, and
// tells whether something may be due later, and whether all is over.
func (c *cached) take() (batch []*sending, ready []*op, dirty, end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for now := time.Now(); c.sending < maxSending && !c.alone && c.due(now); {
		first, n := c.index.Next(sendMax / remote.BlockSize)
		if n == 0 {
			break
		}
		s, err := c.copyOf(first, n)
		if err != nil {
			ready = append(ready, c.sent(s, err)...)
			break
		}
		batch = append(batch, s)
		c.sending++
		c.running++
	}
	dirty = c.index.Dirty() > 0
	return batch, ready, dirty, c.closing && c.sending == 0 && (!dirty || c.lost != nil)
}

// due tells whether the block that has waited longest should go.
// Preconditions: mu is held.
func (c *cached) due(now time.Time) bool {
	epoch, since, ok := c.index.Oldest()
	switch {
	case !ok:
		return false
	case len(c.flushes) > 0 && epoch <= c.flushes[len(c.flushes)-1].epoch:
		return true
	case c.closing:
		return c.lost == nil
	case now.Before(c.retry):
		return false
	}
	return c.index.Dirty() > c.enough() || now.Sub(since) > age
}

// copyOf makes a sending of blocks.
// Preconditions: mu is held.
func (c *cached) copyOf(first, n uint64) (*sending, error) {
	s, _ := c.idle.Get().(*sending)
	if s == nil {
		s = &sending{c: c, buf: make([]byte, sendMax)}
	}
	s.first, s.n, s.closing = first, n, c.closing
	at := first * remote.BlockSize
	length := c.endOf(first+n-1) - at
	s.Request = block.Request{Op: block.OpWrite, Offset: at, Length: length, Memory: append(s.Memory[:0], s.buf[:length])}
	return s, transfer(unix.Preadv, c.fd, s.Memory, at)
}

// Done is called when the volume has the blocks, or could not take them.
func (s *sending) Done(err error) {
	c := s.c
	c.mu.Lock()
	c.sending--
	ready := c.sent(s, err)
	c.leave()
	c.idle.Put(s)
	c.poke()
	c.goOn(ready)
}

// goOn is for requests that wait no more: writes are done, the volume is flushed for
// flushes, unless they failed.
func (c *cached) goOn(list []*op) {
	for _, o := range list {
		switch {
		case o.late:
			o.late = false
			c.mu.Lock()
			if done, err := c.written(o); done {
				c.end(o, err)
			}
		case o.err == nil:
			c.d.start(&o.lower, o)
		default:
			c.end(o, o.err)
		}
	}
	c.d.v.Send()
}

// sent takes note of how a sending ended. What was not sent stays dirty, and the
// flushes that wait for it fail. It returns what needs to wait no more.
// Preconditions: mu is held.
func (c *cached) sent(s *sending, err error) (ready []*op) {
	oldest := c.index.Sent(s.first, s.n, err == nil)
	if err == nil {
		c.stats.Sent += s.Length
	}
	if err != nil && c.failed == nil {
		c.log.Warn("writes wait in the cache: they can't be sent", "volume", c.d.name, "err", err)
	}
	c.failed, c.retry = err, time.Time{}
	if err != nil {
		c.retry = time.Now().Add(retryTime)
		if s.closing {
			c.lost = err
		}
		for _, o := range c.flushes {
			if o.epoch >= oldest {
				o.err = err
			}
		}
	}
	return c.ready()
}

// ready returns what needs to wait no more.
// Preconditions: mu is held.
func (c *cached) ready() (list []*op) {
	c.flushes = slices.DeleteFunc(c.flushes, func(o *op) bool {
		if o.err == nil && !c.index.Settled(o.epoch) {
			return false
		}
		list = append(list, o)
		return true
	})
	if c.failed != nil || c.index.Dirty() <= c.index.MaxDirty() {
		list, c.late = append(list, c.late...), nil
	}
	return list
}

// flush makes all durable that was written before: it is sent, and then the volume
// flushed.
// Preconditions: mu is held. It is released.
func (c *cached) flush(o *op) {
	o.lower, o.flushing = block.Request{Op: block.OpFlush}, true
	o.epoch = c.index.Cut()
	if !c.index.Settled(o.epoch) {
		c.flushes = append(c.flushes, o)
		c.mu.Unlock()
		c.poke()
		return
	}
	c.mu.Unlock()
	c.d.start(&o.lower, o)
}

// close sends what is left and ends the cache. What the volume doesn't take is lost: the
// guest has not flushed it, or was told that it could not.
func (c *cached) close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.poke()
	<-c.over
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.file.Close()
	if n := c.index.Dirty(); n > 0 {
		return fmt.Errorf("volume %s: %d KiB that were written and not flushed are lost: %w", c.d.name, n*remote.BlockSize>>10, c.lost)
	}
	return err
}
