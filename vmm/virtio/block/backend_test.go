package block_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// remote is a backend that answers later, in another goroutine and in another
// order, as one across a network does. Its bytes are in a memfd.
type remote struct {
	fd   int
	info block.Info
	hold chan struct{} // if set, answers wait until it is closed
	fail error         // every answer, if set
	late time.Duration // how late an answer may come, at most

	mu   sync.Mutex
	ops  []block.Request // as they came
	open sync.WaitGroup
}

func newRemote(t testing.TB, size int64) *remote {
	t.Helper()
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	r := &remote{fd: fd, info: block.Info{Size: uint64(size), Discard: true, WriteZeroes: true}, late: 300 * time.Microsecond}
	t.Cleanup(func() { r.open.Wait(); unix.Close(fd) })
	return r
}

func (r *remote) Info() block.Info { return r.info }

func (r *remote) Begin(kick *virtio.Event) block.Session {
	return &remoteSession{remote: r, kick: kick}
}

type remoteSession struct {
	*remote
	kick *virtio.Event
	held []*block.Request // until Commit
}

func (s *remoteSession) Submit(req *block.Request) (bool, error) {
	s.mu.Lock()
	s.ops = append(s.ops, *req)
	s.mu.Unlock()
	if rand.N(4) == 0 && s.hold == nil {
		return true, s.do(req)
	}
	s.open.Add(1)
	s.held = append(s.held, req)
	return false, nil
}

func (s *remoteSession) Commit() error {
	for i, req := range s.held {
		if i%5 == 4 && s.hold == nil {
			s.open.Done()
			req.Finish(s.do(req))
			continue
		}
		go s.answer(req)
	}
	s.held = s.held[:0]
	return nil
}

func (s *remoteSession) Wait() error {
	if err := s.Commit(); err != nil {
		return err
	}
	return s.kick.Wait()
}

func (s *remoteSession) Close() error { return s.Commit() }

func (r *remote) answer(req *block.Request) {
	defer r.open.Done()
	if r.hold != nil {
		<-r.hold
	}
	time.Sleep(rand.N(r.late))
	req.Done(r.do(req))
}

func (r *remote) do(req *block.Request) error {
	if r.fail != nil {
		return r.fail
	}
	var err error
	switch req.Op {
	case block.OpRead:
		_, err = unix.Preadv(r.fd, req.Memory, int64(req.Offset))
	case block.OpWrite:
		_, err = unix.Pwritev(r.fd, req.Memory, int64(req.Offset))
	}
	return err
}

func (r *remote) seen() []block.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]block.Request(nil), r.ops...)
}

func newDevice(t testing.TB, c block.Config) *block.Device {
	t.Helper()
	d, err := block.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

func request(kind uint32, sector uint64, payload ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, sector)
	return append(b, payload...)
}

// TestManyInFlight keeps both queues full of writes and reads of single
// sectors and checks every answer's data.
func TestManyInFlight(t *testing.T) {
	const perQueue = 3000
	dev := newDevice(t, block.Config{Backend: newRemote(t, 1<<20), Queues: 2})
	m := virtiotest.Start(t, dev, virtiotest.Options{Size: 64, EventIdx: true, Indirect: true}, 0)
	var buffers [2]layout.GPA
	for i := range buffers {
		buffers[i] = m.Alloc(64 * 4096)
	}
	var drivers sync.WaitGroup
	for i, q := range m.Queues {
		drivers.Go(func() { fullQueue(t, m, q, uint64(i), buffers[i], perQueue) })
	}
	drivers.Wait()
}

// fullQueue uses the sectors that are number modulo 2 queue's, one per slot: a
// write, then a read that has to give the same.
func fullQueue(t *testing.T, m *virtiotest.Machine, q *virtiotest.Queue, queue uint64, buffers layout.GPA, count int) {
	slots := map[int]int{} // slot by chain
	var free []int
	for slot := range 32 {
		free = append(free, slot)
	}
	round := make([]byte, 32)
	send := func(slot int) bool {
		at := buffers + layout.GPA(slot)*4096
		sector := uint64(slot)*2 + queue
		header, data, status := virtq.Span{GPA: at, Len: 16}, virtq.Span{GPA: at + 512, Len: 512}, virtq.Span{GPA: at + 16, Len: 1}
		round[slot]++
		kind := uint32(typeIn)
		if round[slot]%2 == 1 {
			kind = typeOut
			if err := m.Memory.Store8(at+512+100, round[slot]); err != nil {
				t.Error(err)
			}
		} else if err := m.Memory.Store8(at+512+100, 0xee); err != nil {
			t.Error(err)
		}
		if err := errors.Join(m.Memory.WriteAt(request(kind, sector), at), m.Memory.Store8(at+16, 0xff)); err != nil {
			t.Error(err)
		}
		readable, writable := []virtq.Span{header, data}, []virtq.Span{status}
		if kind == typeIn {
			readable, writable = readable[:1], []virtq.Span{data, status}
		}
		id, ok := q.Add(readable, writable)
		slots[id] = slot
		return ok
	}
	for sent, done := 0, 0; done < count; done++ {
		for len(free) > 0 && sent < count && send(free[len(free)-1]) {
			free = free[:len(free)-1]
			sent++
		}
		q.Kick()
		id, _ := q.Wait()
		slot := slots[id]
		delete(slots, id)
		at := buffers + layout.GPA(slot)*4096
		status, _ := m.Memory.Load8(at + 16)
		got, _ := m.Memory.Load8(at + 512 + 100)
		want := round[slot] - (round[slot]+1)%2 // a read's is its write's
		if status != 0 || got != want {
			t.Errorf("slot %d, round %d: status %d, byte %d, want %d", slot, round[slot], status, got, want)
			return
		}
		free = append(free, slot)
	}
}

// TestResetWaits: guest memory is the backend's until it has answered.
func TestResetWaits(t *testing.T) {
	backend := newRemote(t, 1<<20)
	backend.hold = make(chan struct{})
	m := virtiotest.Start(t, newDevice(t, block.Config{Backend: backend}), virtiotest.Options{}, 0)
	at := m.Alloc(4096)
	if err := m.Memory.WriteAt(request(typeIn, 0), at); err != nil {
		t.Fatal(err)
	}
	m.Queues[0].Add([]virtq.Span{{GPA: at, Len: 16}}, []virtq.Span{{GPA: at + 512, Len: 513}})
	m.Queues[0].Kick()
	for len(backend.seen()) == 0 {
		time.Sleep(time.Millisecond)
	}
	done := make(chan struct{})
	go func() { m.Reset(); close(done) }()
	select {
	case <-done:
		t.Error("Reset returned with a request at the backend")
	case <-time.After(50 * time.Millisecond):
	}
	close(backend.hold)
	select {
	case <-done:
	case <-time.After(virtiotest.Patience):
		t.Fatal("Reset doesn't return after the answer")
	}
}

func TestErrorsOfTheBackend(t *testing.T) {
	for _, c := range []struct {
		err  error
		want byte
	}{{unix.EIO, 1}, {unix.ENOSPC, 1}, {io.ErrUnexpectedEOF, 1}, {block.ErrUnsupported, 2}, {errors.Join(errors.New("x"), block.ErrUnsupported), 2}} {
		backend := newRemote(t, 1<<20)
		backend.fail = c.err
		m := virtiotest.Start(t, newDevice(t, block.Config{Backend: backend}), virtiotest.Options{}, 0)
		for range 8 { // in place and later
			if b := m.Queues[0].Do(request(typeIn, 0), 513); b[512] != c.want {
				t.Errorf("%v: status %d, want %d", c.err, b[512], c.want)
			}
		}
	}
}

// TestWritethrough: without a way to flush, or with the cache off, a write is
// durable when it is answered (virtio 1.2, 5.2.6.2).
func TestWritethrough(t *testing.T) {
	const wce, flush = virtio.Features(1 << 11), virtio.Features(1 << 9)
	for name, c := range map[string]struct {
		without virtio.Features
		cache   byte
		want    bool
	}{
		"writeback":          {0, 1, false},
		"cache switched off": {0, 0, true},
		"no config":          {wce, 1, false},
		"no config, set":     {wce, 0, false},
		"no flush":           {wce | flush, 1, true},
	} {
		backend := newRemote(t, 1<<20)
		dev := newDevice(t, block.Config{Backend: backend})
		m := virtiotest.Start(t, dev, virtiotest.Options{}, c.without)
		dev.WriteConfig(32, []byte{c.cache})
		m.Queues[0].Do(request(typeOut, 0, make([]byte, 512)...), 1)
		m.Queues[0].Do(request(typeDiscard, 0, segment(0, 1, 0)...), 1)
		for _, r := range backend.seen() {
			if r.Durable != c.want {
				t.Errorf("%s: %v with Durable %t", name, r.Op, r.Durable)
			}
		}
		m.Reset()
		if m.Config()[32] != 1 {
			t.Errorf("%s: the cache mode survives a reset", name)
		}
	}
}
