package trouble

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	gb "splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm/bare"
)

const (
	historyCPUs   = 4
	historyEvents = 6_000     // of each vCPU
	logBytes      = 512 << 10 // room for them
	wordsAt       = gb.Memory + historyCPUs*logBytes
)

// TestLinesAreLinearizable has four vCPUs read and swap words, one in each of some
// lines that they share, and finds for each line an order in which all that they saw
// could have happened one after the other, although the lines leave the ExCache
// all the time, and pagers are killed.
func TestLinesAreLinearizable(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	monitors := startMonitors(t, 2)
	// Few lines, at which vCPUs meet often and which leave when the ExCache shrinks
	// and by what is logged; as many as fit; and many more.
	for i, lines := range []uint64{32, 400, 3000} {
		id := uint64(10 + i)
		h := &history{guest: newGuest(t, id, 32<<20, 512, monitors), lines: lines, now: make([]uint64, lines)}
		d := disturb(h.guest, id, 100*time.Millisecond, []uint64{512, 256, 1024, 300})
		end := time.Now().Add(span(9*time.Second) / 3)
		rounds := 0
		for ; !t.Failed() && (time.Now().Before(end) || !d.enough()); rounds++ {
			h.round(t, uint64(rounds))
		}
		t.Logf("%d lines: %d rounds of %d events", lines, rounds, historyCPUs*historyEvents)
		d.end(t)
	}
}

// history is a guest that logs what it does to words, one in each of some lines.
type history struct {
	*guest
	lines uint64
	now   []uint64 // the words after the rounds so far
}

// round runs the guest once, and checks what it saw together with the words at
// the end.
func (h *history) round(t *testing.T, n uint64) {
	params := make([]gb.Params, historyCPUs)
	for i := range params {
		params[i] = gb.Params{Start: wordsAt, Count: h.lines, Stride: gb.LineSize, Accesses: historyEvents, WriteBelow: gb.Writes(0.4),
			Table: gb.Memory + uint64(i)*logBytes, TableCount: logBytes / gb.EventSize, Seed: (n*historyCPUs + uint64(i) + 1) * 0x9e3779b97f4a7c15}
	}
	r, err := h.run(t.Context(), 2*time.Minute, bare.Spec{Program: gb.History, Params: params})
	if err != nil {
		t.Errorf("guest: %v", err)
		return
	}
	of := make([][]porcupine.Operation, h.lines)
	last := int64(0)
	for i, v := range r.VCPUs {
		log := make([]byte, v.Result.Accesses*gb.EventSize)
		must(t, h.memory.ReadAt(log, layout.GPA(params[i].Table)))
		for _, e := range gb.Events(log) {
			line := (e.Address - wordsAt) / gb.LineSize
			if line >= h.lines {
				t.Errorf("vCPU %d's log has an event at %#x: a line of the log is not what was written", i, e.Address)
				return
			}
			of[line] = append(of[line], porcupine.Operation{ClientId: i, Input: e.Put, Call: int64(e.Begin), Output: e.Found, Return: int64(e.End)})
			last = max(last, int64(e.End))
		}
	}
	events := 0
	for line, ops := range of {
		events += len(ops)
		h.check(t, line, ops, last)
	}
	if events != historyCPUs*historyEvents {
		t.Errorf("%d events were logged, want %d", events, historyCPUs*historyEvents)
	}
}

// check looks for an order of a line's operations that begins with the word that
// the last round left, and ends with the one that is there now.
func (h *history) check(t *testing.T, line int, ops []porcupine.Operation, last int64) {
	var b [8]byte
	must(t, h.memory.ReadAt(b[:], layout.GPA(wordsAt+uint64(line)*gb.LineSize)))
	first, now := h.now[line], binary.LittleEndian.Uint64(b[:])
	h.now[line] = now
	ops = append(ops, porcupine.Operation{ClientId: historyCPUs, Input: uint64(0), Call: last + 1, Output: now, Return: last + 2})
	if r := porcupine.CheckOperationsTimeout(word(first), ops, 5*time.Minute); r != porcupine.Ok {
		t.Errorf("line %d: %d operations from %#x to %#x: %s", line, len(ops), first, now, r)
	}
}

// word is one word of memory, read and swapped.
func word(first uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return first },
		Step: func(state, in, out any) (bool, any) {
			if put := in.(uint64); put != 0 {
				return state == out, put
			}
			return state == out, state
		},
	}
}
