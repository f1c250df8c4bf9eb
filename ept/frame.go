package ept

import (
	"sync"

	"splitvm/ept/excache"
)

// frame is memory for one line on its way in, or held back.
type frame struct {
	data [excache.LineSize]byte
}

// batchLines is how many lines a batch (a READ ahead, a write-back) has at most.
const batchLines = 64

// batch is memory for lines on their way in or out.
type batch struct {
	data [batchLines * excache.LineSize]byte
}

var (
	frames  = sync.Pool{New: func() any { return new(frame) }}
	batches = sync.Pool{New: func() any { return new(batch) }}

	zeroes batch // never written to
)

func newFrame() *frame { return frames.Get().(*frame) }

func (f *frame) free() {
	if f != nil {
		frames.Put(f)
	}
}

func newBatch() *batch { return batches.Get().(*batch) }
func (b *batch) free() { batches.Put(b) }
func (b *batch) at(i int) []byte {
	return b.data[i*excache.LineSize : (i+1)*excache.LineSize]
}

// lines returns the memory of n lines from i on.
func (b *batch) lines(i, n int) []byte {
	return b.data[i*excache.LineSize : (i+n)*excache.LineSize]
}
