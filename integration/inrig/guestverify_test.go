package inrig

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	verifyLine    = 4096
	verifyThreads = 2
)

// toolVerify writes and checks so many bytes of memory for so many seconds.
// Every eighth word of a line says which line it is, and how often it was written.
func toolVerify(seconds, size string) error {
	s, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", n, err)
	}
	end := time.Now().Add(time.Duration(s) * time.Second)
	var threads sync.WaitGroup
	all := make([]*verifier, verifyThreads)
	for i := range all {
		part := n / verifyThreads &^ (verifyLine - 1)
		v := &verifier{mem: mem[i*part:][:part], id: uint64(i + 1), writes: make([]uint32, part/verifyLine), random: rand.New(rand.NewPCG(uint64(i), 7))}
		all[i] = v
		threads.Go(func() { v.run(end) })
	}
	threads.Wait()
	checked := 0
	for _, v := range all {
		if v.err != nil {
			return v.err
		}
		checked += v.checked
	}
	fmt.Printf("verified: %d lines\n", checked)
	return nil
}

// verifier is one thread with its part of memory.
type verifier struct {
	mem     []byte
	id      uint64
	writes  []uint32 // by line
	random  *rand.Rand
	checked int
	err     error // of the first wrong line
}

// run goes through all lines in order, then through random ones, and so on; in
// the end it checks all.
func (v *verifier) run(end time.Time) {
	for pass := 0; v.err == nil && time.Now().Before(end); pass++ {
		for i := 0; i < len(v.writes) && v.err == nil && (i%256 > 0 || time.Now().Before(end)); i++ {
			line := i
			if pass%2 == 1 {
				line = v.random.IntN(len(v.writes))
			}
			v.check(line)
			if v.random.IntN(2) == 0 {
				v.write(line)
			}
		}
	}
	for line := 0; line < len(v.writes) && v.err == nil; line++ {
		v.check(line)
	}
}

func (v *verifier) word(line, off int) uint64 {
	if v.writes[line] == 0 {
		return 0
	}
	return (v.id<<56|uint64(line)<<32|uint64(v.writes[line]))*0x9e3779b97f4a7c15 ^ uint64(off)
}

func (v *verifier) check(line int) {
	v.checked++
	for off := 0; off < verifyLine; off += 64 {
		if got, want := binary.LittleEndian.Uint64(v.mem[line*verifyLine+off:]), v.word(line, off); got != want && v.err == nil {
			v.err = fmt.Errorf("thread %d, line %d, offset %d: %#x, want %#x (written %d times)", v.id, line, off, got, want, v.writes[line])
		}
	}
}

func (v *verifier) write(line int) {
	v.writes[line]++
	for off := 0; off < verifyLine; off += 64 {
		binary.LittleEndian.PutUint64(v.mem[line*verifyLine+off:], v.word(line, off))
	}
}
