package block

import (
	"sync"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// queue serves one virtqueue.
type queue struct {
	dev      *Device
	vq       *virtio.Queue
	features virtio.Features // negotiated
	worker   *virtio.Worker
	fail     func(error)
	open     sync.WaitGroup // jobs that the backend has

	free []*job // the worker's own

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
	q.worker = virtio.StartWorker(vq, q.serve, a.Fail)
	return q
}

// stop returns when no request of the queue is under way.
func (q *queue) stop() {
	q.worker.Stop()
	q.open.Wait()
}

// serve takes what is available, at most as many as the queue has entries so
// that a stop is not held up. Those that the backend answers at once share an
// interrupt.
func (q *queue) serve() error {
	answered := false
	defer func() {
		if answered {
			q.mu.Lock()
			q.vq.Notify()
			q.mu.Unlock()
		}
	}()
	for range q.vq.Size() {
		j := q.take()
		if ok, err := q.vq.Pop(&j.chain); !ok || err != nil {
			q.free = append(q.free, j)
			return err
		}
		done, err := q.begin(j)
		if err != nil {
			return err
		}
		answered = answered || done
	}
	return nil
}

// begin parses a request and submits it; true if it is answered already.
func (q *queue) begin(j *job) (bool, error) {
	st, err := j.parse()
	if err != nil {
		return false, err
	}
	if st != pending {
		return true, q.answer(j, st, true)
	}
	q.open.Add(1)
	done, err := q.submit(j)
	if !done {
		return false, nil
	}
	defer q.open.Done()
	return true, q.answer(j, statusOf(err), true)
}

// submit hands j to the backend, and once more for the flush after a write
// that must be durable.
func (q *queue) submit(j *job) (bool, error) {
	done, err := q.dev.Backend.Submit(&j.Request)
	if done && err == nil && j.flushNext() {
		return q.dev.Backend.Submit(&j.Request)
	}
	return done, err
}

// flushNext turns a write into the flush that has to follow it, if one has.
func (j *job) flushNext() bool {
	if j.Op == OpRead || j.Op == OpFlush || !j.queue.dev.writethrough(j.queue.features) {
		return false
	}
	j.Op, j.Memory = OpFlush, j.Memory[:0]
	return true
}

// done is Request.Done: the backend answers later.
func (j *job) done(_ *Request, err error) {
	q := j.queue
	if err == nil && j.flushNext() {
		var done bool
		if done, err = q.submit(j); !done {
			return
		}
	}
	defer q.open.Done()
	if err := q.answer(j, statusOf(err), false); err != nil {
		q.fail(err)
	}
}

// answer gives the guest its request back. The worker's own answers are
// notified by serve. The status is the last byte of the writable part, so that
// counts as written as a whole. The error is that the status is not in RAM.
func (q *queue) answer(j *job, st status, worker bool) error {
	size := j.chain.WritableLen()
	err := j.chain.Store(size-1, []byte{byte(st)})
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil {
		q.finished = append(q.finished, j)
		return err
	}
	q.vq.Push(&j.chain, size)
	if worker {
		q.free = append(q.free, j)
		return nil
	}
	q.finished = append(q.finished, j)
	q.vq.Notify()
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
	j := &job{queue: q}
	j.owner = j
	return j
}
