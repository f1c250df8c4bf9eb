package virtio

import "sync/atomic"

// Worker serves one queue from a goroutine of its own: it sleeps until the
// driver notifies and then calls handle until the queue is empty.
type Worker struct {
	queue  *Queue
	handle func() error
	fail   func(error)
	stop   atomic.Bool
	done   chan struct{}
}

// StartWorker starts a worker. handle pops and serves what is there, without
// waiting for more; notifications are off meanwhile. Its error is handed to
// fail, once, and ends the serving.
func StartWorker(q *Queue, handle func() error, fail func(error)) *Worker {
	w := &Worker{queue: q, handle: handle, fail: fail, done: make(chan struct{})}
	go w.run()
	return w
}

// Stop ends the worker and waits for it. The handle call under way finishes.
func (w *Worker) Stop() {
	w.stop.Store(true)
	w.queue.Kick.Signal()
	<-w.done
}

func (w *Worker) run() {
	defer close(w.done)
	for {
		if err := w.serve(); err != nil {
			w.fail(err)
			return
		}
		if w.stop.Load() {
			return
		}
		if err := w.queue.Kick.Wait(); err != nil {
			w.fail(err)
			return
		}
	}
}

// serve handles what is available and returns with notifications on.
func (w *Worker) serve() error {
	for !w.stop.Load() {
		w.queue.DisableKicks()
		if err := w.handle(); err != nil {
			return err
		}
		if more, err := w.queue.EnableKicks(); !more || err != nil {
			return err
		}
	}
	return nil
}
