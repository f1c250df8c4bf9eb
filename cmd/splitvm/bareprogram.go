//go:build amd64

package main

import (
	"fmt"
	"strconv"
	"strings"

	"splitvm/guest/bare"
	vmbare "splitvm/vmm/bare"
)

// bareProgram is what --bare asks for.
type bareProgram struct {
	program  bare.Program
	accesses uint64 // 0: 4 for each line
	writes   float64
	status   uint64
	seed     uint64
	inOrder  bool // verify: one line after the other
}

// rackPrograms are those that need nothing but memory.
var rackPrograms = map[string]bare.Program{"exit": bare.Exit, "touch": bare.Touch, "random": bare.Random, "fill": bare.Fill, "verify": bare.Verify}

func parseBare(s string) (bareProgram, error) {
	name, rest, _ := strings.Cut(s, ",")
	p := bareProgram{writes: 0.5, seed: 1}
	var ok bool
	if p.program, ok = rackPrograms[name]; !ok {
		return p, fmt.Errorf("no bare program %q: there are exit, touch, random, fill and verify", name)
	}
	for word := range fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "in-order":
			p.inOrder = true
		case "accesses":
			p.accesses, err = strconv.ParseUint(value, 10, 48)
		case "writes":
			p.writes, err = strconv.ParseFloat(value, 64)
		case "status":
			p.status, err = strconv.ParseUint(value, 10, 8)
		case "seed":
			p.seed, err = strconv.ParseUint(value, 10, 63)
		default:
			err = fmt.Errorf("give accesses=, writes=, status=, seed= or in-order")
		}
		if err != nil {
			return p, fmt.Errorf("bare program %q: %q: %w", s, word, err)
		}
	}
	return p, nil
}

// spec shares memory from bare.Memory on among the vCPUs. A vCPU's share begins
// with verify's table.
func (p bareProgram) spec(memory uint64, vcpus int) vmbare.Spec {
	s := vmbare.Spec{Program: p.program}
	share := (memory - bare.Memory) / uint64(vcpus) / bare.LineSize * bare.LineSize
	for i := range vcpus {
		start := bare.Memory + uint64(i)*share
		lines := share / bare.LineSize
		table := (4*lines + bare.LineSize - 1) / bare.LineSize
		q := bare.Params{
			Start: start, Count: lines, Stride: bare.LineSize, Accesses: p.accesses, Status: p.status,
			Seed: p.seed + uint64(i)*0x9e3779b97f4a7c15 | 1, WriteBelow: bare.Writes(p.writes),
			Pattern: p.seed, Words: 8, WordStride: 512,
		}
		switch {
		case p.program.Name == bare.Touch.Name && p.accesses == 0:
			q.Accesses = 4 // passes
		case p.accesses == 0:
			q.Accesses = 4 * lines
		}
		if p.program.Name == bare.Verify.Name {
			q.Table, q.TableCount = start, lines-table
			if !p.inOrder {
				q.Flags = bare.FlagRandom
			}
			q.Start, q.Count = start+table*bare.LineSize, lines-table
		}
		s.Params = append(s.Params, q)
	}
	return s
}
