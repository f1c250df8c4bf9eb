package rng

import (
	"bytes"
	"testing"
	"time"

	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

func newDevice(t *testing.T, c Config) *Device {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFillsBuffers(t *testing.T) {
	m := virtiotest.Start(t, newDevice(t, Config{}), virtiotest.Options{EventIdx: true}, 0)
	seen := map[string]bool{}
	for range 20 {
		b := m.Queues[0].Do(nil, 64)
		if len(b) != 64 || bytes.Equal(b[32:], make([]byte, 32)) {
			t.Fatalf("buffer of %d bytes: %x", len(b), b)
		}
		if seen[string(b)] {
			t.Fatal("the same bytes twice")
		}
		seen[string(b)] = true
	}
}

func TestAnswersNoMoreThanABurst(t *testing.T) {
	m := virtiotest.Start(t, newDevice(t, Config{Burst: 100}), virtiotest.Options{}, 0)
	if b := m.Queues[0].Do(nil, 4096); len(b) != 100 {
		t.Fatalf("%d bytes, want the burst of 100", len(b))
	}
}

// TestResetEndsAPause asks for more than the rate gives in the test's life.
func TestResetEndsAPause(t *testing.T) {
	m := virtiotest.Start(t, newDevice(t, Config{Rate: 1, Burst: 4096}), virtiotest.Options{}, 0)
	m.Queues[0].Do(nil, 4096)
	at := m.Alloc(4096)
	m.Queues[0].Add(nil, []virtq.Span{{GPA: at, Len: 4096}})
	m.Queues[0].Kick()
	done := make(chan struct{})
	go func() { m.Reset(); close(done) }()
	select {
	case <-done:
	case <-time.After(virtiotest.Patience):
		t.Fatal("Reset doesn't return while the device waits for its rate")
	}
}

func TestUnusableBufferFails(t *testing.T) {
	for name, chain := range map[string]struct{ out, in []virtq.Span }{
		"outside RAM":    {in: []virtq.Span{{GPA: 1 << 40, Len: 8}}},
		"wraps":          {in: []virtq.Span{{GPA: ^virtq.Span{}.GPA - 3, Len: 8}}},
		"nothing to put": {out: []virtq.Span{{GPA: 0x1000, Len: 8}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := virtiotest.Start(t, newDevice(t, Config{}), virtiotest.Options{}, 0)
			m.Queues[0].Add(chain.out, chain.in)
			m.Queues[0].Kick()
			select {
			case <-m.Failed:
			case <-time.After(virtiotest.Patience):
				t.Fatal("the device doesn't ask for a reset")
			}
		})
	}
}

func TestLimit(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimit(Config{Rate: 1000, Burst: 500}, now)
	for i, step := range []struct {
		after time.Duration
		n     int
		want  time.Duration
	}{
		{0, 500, 0},
		{0, 100, 100 * time.Millisecond},
		{100 * time.Millisecond, 0, 0},
		{10 * time.Second, 500, 0}, // no more than the burst was saved up
		{0, 500, 500 * time.Millisecond},
		{250 * time.Millisecond, 250, 500 * time.Millisecond},
	} {
		now = now.Add(step.after)
		if got := l.take(step.n, now); got.Round(time.Microsecond) != step.want {
			t.Fatalf("step %d: take(%d) = %v, want %v", i, step.n, got, step.want)
		}
	}
}
