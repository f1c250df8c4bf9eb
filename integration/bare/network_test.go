package bare

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/net"
)

// wire is a network of two queue pairs whose other end answers frames with
// frames, and sends some of its own accord.
type wire struct {
	queues []int // the device's
	peers  []*os.File
	done   sync.WaitGroup
}

var _ net.Backend = (*wire)(nil)

func newWire(t testing.TB, random *rand.Rand) *wire {
	t.Helper()
	w := &wire{}
	for range 2 {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		w.queues = append(w.queues, fds[0])
		peer := os.NewFile(uintptr(fds[1]), "peer")
		w.peers = append(w.peers, peer)
		seed := random.Uint64()
		w.done.Go(func() { answer(peer, rand.New(rand.NewPCG(seed, 0))) })
	}
	return w
}

// answer reads frames until the peer is closed, and writes as it likes.
func answer(peer *os.File, random *rand.Rand) {
	frame := make([]byte, net.MaxFrame)
	for i := range frame[:4096] {
		frame[i] = byte(random.Uint32())
	}
	for {
		n := random.IntN(2000)
		clear(frame[:min(n, net.HeaderSize)])
		if random.IntN(8) == 0 { // not even a header
			frame[0] = byte(random.Uint32())
		}
		peer.Write(frame[:n]) // may be full
		if _, err := peer.Read(frame); err != nil {
			return
		}
	}
}

func (w *wire) Queues() []int { return w.queues }

func (w *wire) Offloads() net.Offload { return net.Checksum | net.TSO4 | net.TSO6 }

func (w *wire) Apply(s net.Settings) error { return nil }

// Close ends the peers, then the queues, which no device may use any more.
func (w *wire) Close() error {
	for _, p := range w.peers {
		p.Close()
	}
	w.done.Wait()
	for _, fd := range w.queues {
		unix.Close(fd)
	}
	return nil
}
