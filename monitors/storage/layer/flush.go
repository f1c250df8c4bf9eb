package layer

import (
	"errors"
	"fmt"
	"sync"
)

// Flush makes all changes durable that returned before it was called. Calls at
// the same time share a flush. It returns the generation that is durable. After a
// failure nothing is taken any more: the kernel has dropped what it could not
// write, and nobody knows what that was.
func (l *Layer) Flush() (gen uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for want := l.begun + 1; l.failed == nil && l.ended < want; {
		if l.begun > l.ended {
			l.settled.Wait()
			continue
		}
		l.begun++
		l.mu.Unlock()
		err := l.flush()
		l.mu.Lock()
		l.ended = l.begun
		if err != nil {
			l.failed = fmt.Errorf("flush layer %v: %w: %w", l.id, ErrFailed, err)
			l.broken.Store(true)
		}
		l.settled.Broadcast()
	}
	return l.durable.Load(), l.failed
}

func (l *Layer) flush() error {
	l.gate.Lock()
	gen := l.gen
	changed := l.dirty.Swap(false)
	if changed {
		l.gen++
	}
	l.mu.Lock()
	freed := l.discarded // all of this generation, none of the next
	l.discarded = nil
	l.mu.Unlock()
	l.gate.Unlock()
	if !changed && l.head.common == l.common.Load() {
		return nil
	}
	l.head.durable, l.head.common = l.durable.Load(), l.common.Load()
	if l.head.limit < gen+limitSpan/2 {
		l.head.limit = gen + limitSpan
	}
	l.touched[2].Store(true)
	if err := errors.Join(l.head.write(l.files.Map), l.sync()); err != nil {
		return err
	}
	if changed {
		l.settle(gen)
	}
	l.free(freed) // what fails is left for Reclaim
	return nil
}

// settle makes gen durable for who waits for it.
func (l *Layer) settle(gen uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.durable.Store(gen)
	l.settled.Broadcast()
}

// sync syncs the files that were written to, together.
func (l *Layer) sync() error {
	var wg sync.WaitGroup
	var errs [len(fileNames)]error
	for i, f := range l.files.list() {
		if l.touched[i].Swap(false) {
			wg.Go(func() { errs[i] = f.Sync() })
		}
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}
