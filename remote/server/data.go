package server

import (
	"encoding/binary"
	"fmt"

	"splitvm/remote"
	"splitvm/remote/wire"
)

var (
	errBodyLength = fmt.Errorf("%w: body length does not match the request", remote.Protocol)
	errNoSum      = fmt.Errorf("%w: body without the checksum that was agreed on", remote.Protocol)
)

// readRuns reads the runs of the request into c.runs and returns the number of
// lines. The runs are limited in number but otherwise the store's to check.
func (c *conn) readRuns() (lines int, meta []byte, err error) {
	n, err := c.h.RunBytes()
	if err != nil {
		return 0, nil, err
	}
	if n > 0 {
		if meta, err = c.stream.Take(n); err != nil {
			return 0, nil, err
		}
	}
	c.runs = c.h.Runs(c.runs, meta)
	return remote.CountLines(c.runs), meta, nil
}

// metaSum checks the body checksum of a request without lines.
func (c *conn) metaSum(meta []byte) error {
	if !c.sums || c.h.Length == 0 {
		return nil
	}
	if c.h.Flags&wire.FlagSum == 0 {
		return errNoSum
	}
	c.sum.Reset(meta)
	if c.sum.Sum() != c.h.Sum {
		return remote.Corrupt
	}
	return nil
}

func (c *conn) read() error {
	lines, meta, err := c.readRuns()
	if err != nil {
		return err
	}
	if int(c.h.Length) != len(meta) {
		return errBodyLength
	}
	if err := c.metaSum(meta); err != nil {
		return c.refuse(err)
	}
	if lines < 1 || lines > remote.MaxBatch {
		c.answer(remote.Range)
		return nil
	}
	from := len(c.pinned)
	if c.pinned, err = c.server.cfg.Store.Pin(c.h.At(), c.runs, c.pinned); err != nil {
		c.answer(remote.KindOf(err))
		return nil
	}
	c.answerLines(c.pinned[from:])
	return nil
}

// refuse answers a request that failed for a reason of its own, and returns the
// errors after which the connection cannot go on.
func (c *conn) refuse(err error) error {
	if err == remote.Corrupt {
		c.answer(remote.Corrupt)
		return nil
	}
	return err
}

// answerLines queues the answer of a read.
func (c *conn) answerLines(lines []Pinned) {
	var zero remote.LineSet
	held := 0
	for i := range lines {
		if lines[i].Mem == nil {
			zero.Add(i)
		} else {
			held++
		}
	}
	h := c.answerHeader(remote.OK)
	var meta []byte
	switch held {
	case len(lines):
	case 0:
		h.Flags |= wire.FlagZero
		c.push(&h)
		return
	default:
		h.Flags |= wire.FlagMap
		meta = c.bitmap(&zero, len(lines))
	}
	h.Length = uint32(len(meta) + held*remote.LineSize)
	if c.sums {
		h.Flags |= wire.FlagSum
		h.Sum = c.linesSum(meta, lines)
	}
	c.push(&h)
	c.out.Add(meta)
	for i := range lines {
		c.out.Add(lines[i].Mem)
	}
	c.server.metrics.LinesOut.Add(uint64(held))
}

func (c *conn) bitmap(zero *remote.LineSet, lines int) []byte {
	b := c.metas[c.answers*bitmapSize:][:bitmapSize]
	words := (lines + 63) / 64
	for i := range words {
		binary.LittleEndian.PutUint64(b[i*8:], zero[i])
	}
	return b[:words*8]
}

func (c *conn) linesSum(meta []byte, lines []Pinned) uint32 {
	s := &c.sum
	s.Reset(meta)
	for i := range lines {
		switch l := &lines[i]; {
		case l.Mem == nil:
		case l.Summed:
			s.AddLine(l.Sum)
		default:
			s.AddLine(wire.LineSum(l.Mem))
		}
	}
	return s.Sum()
}

func (c *conn) write() error {
	lines, meta, err := c.readRuns()
	if err != nil {
		return err
	}
	if lines < 1 || lines > remote.MaxBatch || int(c.h.Length) != len(meta)+lines*remote.LineSize {
		return errBodyLength
	}
	if c.sums && c.h.Flags&wire.FlagSum == 0 {
		return errNoSum
	}
	c.sum.Reset(meta) // before the stream's buffer is used again
	store := c.server.cfg.Store
	if err := store.Reserve(c.h.At(), c.runs, &c.filling); err != nil {
		if skip := c.stream.Skip(lines * remote.LineSize); skip != nil {
			return skip
		}
		c.answer(remote.KindOf(err))
		return nil
	}
	if err := c.stream.Fill(c.filling.Mem); err != nil {
		store.Abandon(&c.filling)
		return err
	}
	if c.sums && !c.fillingSum() {
		store.Abandon(&c.filling)
		c.answer(remote.Corrupt)
		return nil
	}
	err = store.Commit(c.h.At(), c.runs, &c.filling)
	if err == nil {
		c.server.metrics.LinesIn.Add(uint64(lines))
	}
	c.answer(remote.KindOf(err))
	return nil
}

// fillingSum computes the checksums of what was received and compares.
func (c *conn) fillingSum() bool {
	f := &c.filling
	f.Sums = f.Sums[:0]
	for _, m := range f.Mem {
		s := wire.LineSum(m)
		f.Sums = append(f.Sums, s)
		c.sum.AddLine(s)
	}
	f.Summed = true
	return c.sum.Sum() == c.h.Sum
}

func (c *conn) discard() error {
	_, meta, err := c.readRuns()
	if err != nil {
		return err
	}
	if int(c.h.Length) != len(meta) {
		return errBodyLength
	}
	if err := c.metaSum(meta); err != nil {
		return c.refuse(err)
	}
	c.answer(remote.KindOf(c.server.cfg.Store.Discard(c.server.ctx, c.h.At(), c.runs)))
	return nil
}
