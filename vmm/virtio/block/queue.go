package block

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"splitvm/remote/threads"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// queue serves one virtqueue.
type queue struct {
	dev      *Device
	vq       *virtio.Queue
	features virtio.Features // negotiated
	fail     func(error)
	stopping atomic.Bool
	worker   sync.WaitGroup
	open     sync.WaitGroup // jobs that the backend has

	// The worker's own.
	session Session
	free    []*job
	quiet   bool // something was pushed without an interrupt yet
	preempt preemption
	undo    func() error // ends SCHED_BATCH; nil when it has ended

	mu       sync.Mutex // Push, Notify, finished
	finished []*job     // guarded by mu: free, but not yet in free
}

// job is one request of the guest on its way.
type job struct {
	Request
	queue *queue
	chain virtq.Chain
}

func startQueue(d *Device, vq *virtio.Queue, a virtio.Activation) *queue {
	q := &queue{dev: d, vq: vq, features: a.Features, fail: a.Fail}
	q.worker.Go(q.run)
	return q
}

// stop returns when no request of the queue is under way.
func (q *queue) stop() {
	q.stopping.Store(true)
	q.vq.Kick.Signal()
	q.worker.Wait()
	q.open.Wait()
}

func (q *queue) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q.session = q.dev.Backend.Begin(q.vq.Kick)
	err := q.batch()
	if err == nil {
		err = q.loop()
	}
	if cerr := q.session.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("end a block session: %w", cerr)
	}
	err = errors.Join(err, q.normal())
	q.notify()
	if err != nil {
		q.fail(err)
	}
}

// batch has the worker's thread preempt nobody when it wakes.
func (q *queue) batch() (err error) {
	q.undo, err = threads.Batch()
	return err
}

// normal ends batch.
func (q *queue) normal() error {
	undo := q.undo
	if q.undo = nil; undo == nil {
		return nil
	}
	return undo()
}

// adapt is told how many requests a pass has found.
func (q *queue) adapt(requests int) error {
	switch {
	case !q.preempt.found(requests):
		return nil
	case q.preempt.preempt:
		return q.normal()
	}
	return q.batch()
}

// loop serves until stop, or until the queue or the session is broken.
func (q *queue) loop() error {
	for !q.stopping.Load() {
		q.vq.DisableKicks()
		if err := q.serve(); err != nil {
			return err
		}
		more, err := q.vq.EnableKicks()
		if err != nil {
			return err
		}
		q.notify()
		if more {
			err = q.session.Commit()
		} else {
			err = q.session.Wait()
		}
		if err != nil {
			return fmt.Errorf("block session: %w", err)
		}
		q.notify()
	}
	return nil
}

// notify interrupts the guest for what the worker pushed.
func (q *queue) notify() {
	if q.quiet {
		q.quiet = false
		q.mu.Lock()
		q.vq.Notify()
		q.mu.Unlock()
	}
}

// serve takes what is available, at most as many as the queue has entries so
// that a stop is not held up.
func (q *queue) serve() error {
	for n := range int(q.vq.Size()) {
		j := q.take()
		if ok, err := q.vq.Pop(&j.chain); !ok || err != nil {
			q.free = append(q.free, j)
			return errors.Join(err, q.adapt(n))
		}
		if err := q.begin(j); err != nil {
			return err
		}
	}
	return nil
}

// begin parses a request and submits it, or answers it at once.
func (q *queue) begin(j *job) error {
	st, err := j.parse()
	if err != nil {
		return err
	}
	if st != pending {
		return q.answer(j, st, true)
	}
	q.open.Add(1)
	done, err := q.session.Submit(&j.Request)
	if !done {
		return nil
	}
	defer q.open.Done()
	return q.settle(j, err, true)
}

// done is Request.Done and Finish: the backend answers.
func (j *job) done(_ *Request, err error, onWorker bool) {
	q := j.queue
	defer q.open.Done()
	if err := q.settle(j, err, onWorker); err != nil {
		q.fail(err)
	}
}

// settle answers a request with what the backend said.
func (q *queue) settle(j *job, err error, onWorker bool) error {
	if err == nil {
		q.dev.count(&j.Request)
	}
	return q.answer(j, statusOf(err), onWorker)
}

// answer gives the guest its request back. The worker's own answers are
// notified by its loop. The status is the last byte of the writable part, so
// that counts as written as a whole. The error is that it is not in RAM.
func (q *queue) answer(j *job, st status, onWorker bool) error {
	size := j.chain.WritableLen()
	err := j.chain.Store(size-1, []byte{byte(st)})
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = append(q.finished, j)
	if err != nil {
		return err
	}
	q.vq.Push(&j.chain, size)
	if onWorker {
		q.quiet = true
	} else {
		q.vq.Notify()
	}
	return nil
}

// take is a job to fill: a free one, or a new one.
func (q *queue) take() *job {
	if len(q.free) == 0 {
		q.mu.Lock()
		q.free, q.finished = q.finished, q.free
		q.mu.Unlock()
	}
	if n := len(q.free); n > 0 {
		j := q.free[n-1]
		q.free = q.free[:n-1]
		return j
	}
	return &job{queue: q}
}
