package bare

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
)

var oneSeed = flag.Uint64("seed", 0, "TestRubbish: only this seed, and tell what it does")

// limit is what a guest has; most end by themselves long before.
const limit = 5 * time.Second

// A guest that does rubbish to ports, device memory, PCI registers and queues
// brings nothing down but itself, and nothing is left of it.
func TestRubbish(t *testing.T) {
	sys := require.System(t)
	if *oneSeed != 0 {
		log := &journal{}
		o, last := rubbish(t, sys, *oneSeed, log)
		t.Logf("seed %d: %v, after %s\n%s", *oneSeed, o, last, log)
		return
	}
	ends := map[string]int{}
	n := rounds(40, 1000)
	var before usage
	for seed := range uint64(n) {
		if seed == 10 {
			before = used(t)
		}
		log := &journal{}
		o, _ := rubbish(t, sys, seed+1, log)
		ends[o.End.String()]++
		if o.End == vmm.Failed {
			t.Logf("seed %d: %v", seed+1, o)
		}
		if log.lines > maxLines {
			t.Errorf("seed %d made the machine log %d lines:\n%s", seed+1, log.lines, log)
		}
	}
	t.Logf("%d seeds: %v", n, ends)
	leftBehind(t, before)
	if ends[vmm.Exited.String()] < n/2 {
		t.Errorf("less than half of the guests came to their end")
	}
}

// rubbish runs the guest of one seed and returns its end and its last op.
func rubbish(t *testing.T, sys *kvm.System, seed uint64, log *journal) (o vmm.Outcome, last string) {
	t.Helper()
	packed, vcpus := seed%2 == 0, 1+int(seed/2%2)
	m := newMachine(t, sys, bare.Rubbish, vcpus, seed, packed, slog.New(slog.NewTextHandler(log, nil)))
	defer m.close(t)
	var first []bare.Op
	for i := range vcpus {
		ops := newGenerator(seed+uint64(i)<<32, discover(&m.VM.MMIO), packed).all()
		table, at := bare.TableBytes(ops), opsAt+uint64(i)*(ringsAt-opsAt)/2
		if uint64(len(table)) > (ringsAt-opsAt)/2 {
			t.Fatalf("seed %d: %d ops", seed, len(ops))
		}
		must(t, m.mem.WriteAt(table, layout.GPA(at)))
		block := bare.Block{Params: bare.Params{Seed: seed + uint64(i)<<32, Index: uint64(i), Table: at, TableCount: uint64(len(ops))}}
		must(t, m.mem.WriteAt(block.Bytes(), layout.GPA(bare.BlockAt(i))))
		if i == 0 {
			first = ops
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	within(t, fmt.Sprintf("seed %d", seed), func() { o = m.Run(ctx) })
	var block bare.Block
	must(t, m.mem.ReadAt(block.Bytes(), layout.GPA(bare.BlockAt(0))))
	if i := (block.Result.Sum - opsAt) / bare.OpSize; i < uint64(len(first)) {
		last = fmt.Sprintf("%d ops (access %d) on vCPU 0, the last %#+v", i, block.Result.Accesses, first[i])
	}
	return o, last
}

// maxLines is the most lines that a guest may cause in the log: no guest may
// fill its host's disk.
const maxLines = 200

// journal keeps the first lines of a log.
type journal struct {
	mu    sync.Mutex
	lines int
	text  strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lines++; j.lines <= 20 {
		j.text.Write(bytes.TrimSpace(p))
		j.text.WriteByte('\n')
	}
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
