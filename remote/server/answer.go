package server

import (
	"errors"
	"fmt"
	"time"

	"splitvm/remote"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// answerHeader returns the header of the next answer, to be completed and
// given to push.
func (c *conn) answerHeader(status remote.Kind) wire.Header {
	if status != remote.OK {
		c.server.metrics.refused(status)
	}
	return wire.Header{Op: c.h.Op.Answer(), Status: status, ID: c.h.ID}
}

// push queues the header; the caller then adds Length bytes to c.out.
func (c *conn) push(h *wire.Header) {
	b := c.heads[c.answers*wire.HeaderSize:][:wire.HeaderSize]
	c.answers++
	h.Encode(b)
	c.out.Add(b)
}

// answer queues an answer without a body.
func (c *conn) answer(status remote.Kind) {
	h := c.answerHeader(status)
	c.push(&h)
}

// answerMeta queues an answer with a body that is no lines. body must stay as
// it is until the next flush.
func (c *conn) answerMeta(body []byte) {
	h := c.answerHeader(remote.OK)
	h.Length = uint32(len(body))
	if c.sums {
		c.sum.Reset(body)
		h.Flags, h.Sum = wire.FlagSum, c.sum.Sum()
	}
	c.push(&h)
	c.out.Add(body)
}

// flush sends what is queued and lets go of the lines in it.
func (c *conn) flush() error {
	if c.answers == 0 {
		return nil
	}
	err := c.send()
	c.server.cfg.Store.Unpin(c.pinned)
	clear(c.pinned)
	c.pinned = c.pinned[:0]
	c.out.Reset()
	c.answers = 0
	return err
}

func (c *conn) send() error {
	var began time.Time
	for c.out.Len() > 0 {
		if _, err := c.conn.Send(c.out); err != nil && !errors.Is(err, transport.ErrPatience) {
			return err
		}
		if c.out.Len() == 0 {
			return nil
		}
		if began.IsZero() {
			began = time.Now()
		} else if time.Since(began) > c.server.cfg.MessageTimeout {
			return fmt.Errorf("%w: peer does not take its answers", remote.Timeout)
		}
	}
	return nil
}
