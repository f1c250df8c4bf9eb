package server

import (
	"encoding/binary"
	"math"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// control executes the operations off the data path. They have no body today;
// one from a later version is skipped.
func (c *conn) control() error {
	if err := c.stream.Skip(int(c.h.Length)); err != nil {
		return err
	}
	ctx, store, at := c.server.ctx, c.server.cfg.Store, c.h.At()
	switch c.h.Op {
	case wire.Ping:
		c.answer(remote.OK)
	case wire.Create:
		lines := uint32(min(c.h.Offset, math.MaxUint32))
		c.answer(remote.KindOf(store.Create(ctx, at, lines)))
	case wire.Adopt:
		c.answer(remote.KindOf(store.Adopt(ctx, at)))
	case wire.Delete:
		c.answer(remote.KindOf(store.Delete(ctx, at)))
	case wire.Stat:
		c.stat()
	case wire.Stats:
		return c.stats()
	default:
		c.answer(remote.Unsupported)
	}
	return nil
}

func (c *conn) stat() {
	st, err := c.server.cfg.Store.Stat(c.server.ctx, c.h.Object)
	if err != nil {
		c.answer(remote.KindOf(err))
		return
	}
	h := c.answerHeader(remote.OK)
	h.Object, h.Epoch, h.Offset, h.Length = st.VRegion, st.Epoch, uint64(st.Lines), 8
	body := binary.LittleEndian.AppendUint64(make([]byte, 0, 8), uint64(st.Held))
	if c.sums {
		c.sum.Reset(body)
		h.Flags, h.Sum = wire.FlagSum, c.sum.Sum()
	}
	c.push(&h)
	c.out.Add(body)
}

func (c *conn) stats() error {
	if c.server.cfg.Stats == nil {
		c.answer(remote.Unsupported)
		return nil
	}
	body, err := c.server.cfg.Stats()
	if err != nil || len(body) > wire.MaxMeta {
		c.log.Error("statistics cannot be sent", "bytes", len(body), "err", err)
		c.answer(remote.Internal)
		return nil
	}
	c.answerMeta(body)
	return nil
}
