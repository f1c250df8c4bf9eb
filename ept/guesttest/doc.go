// Package guesttest is a guest for tests of the pager: a second process that
// maps a memfd, hands it to a pager (ept/handoff) and touches memory like vCPUs
// do, but without KVM. The process is the test binary, started again.
//
// A test that uses it calls Main from TestMain.
//
// What it isn't: no part of the product.
package guesttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"splitvm/ept/handoff"
)

// Spec says what the guest does.
type Spec struct {
	Pages       int    // of guest memory
	RegionLines uint32 // lines of a vRegion
	Shards      int
	Capacity    uint64   // lines of ExCache
	Monitors    []string // addresses
	Replicas    int
	Late        bool          // vRegions get their owners when they are first needed,
	LateAfter   time.Duration // and not before: whoever places is away until then
	Refuse      string        // why nobody gets any
	Policy      string
	Prefetch    string
	Deadline    time.Duration
	Session     uint64

	Work     string // verify, pass, random, miss, reread, discard, sparse
	Threads  int
	Ops      int           // verify: accesses of each thread; random: accesses; sparse, miss: pages, spread over all
	Resident int           // miss: further pages, in the ExCache meanwhile
	Duration time.Duration // verify: instead of Ops; reread
	Least    uint64        // verify, reread: goes on after Duration until so many pages were touched,
	Pagers   int           // verify: and until so many pagers have served
	Passes   int           // pass
	Writes   int           // percentage of accesses that write
	Seed     uint64

	Resize    []uint64      // verify: sizes to go through, one each Every
	Every     time.Duration // verify: between resizes
	KillEvery time.Duration // verify: mean time between SIGKILLs of the pager
	Preload   int           // pages written through the memfd before the pager starts
	Local     bool          // memory is ordinary memory
	Launch    bool          // start pagers of its own; else there is one on descriptor 3
}

// Result is what it found.
type Result struct {
	Bad      int     // wrong words read
	First    string  // the first of them
	Accesses uint64  // touches of pages
	Nanos    int64   // of the measured part
	Samples  []int64 // random: nanoseconds of each access
	Passes   []int64 // pass: nanoseconds per page of each pass
	Table    int64   // bytes that the line table takes
	Pagers   int     // pagers that served
	Error    string  // why it ended early
	Stats    json.RawMessage
}

const specVariable = "SPLITVM_TEST_GUEST"

// Main runs the tests, or the guest if this process was started as one.
func Main(m *testing.M) {
	if os.Getenv(pagerVariable) != "" {
		os.Exit(servePager())
	}
	if what := os.Getenv(floorVariable); what != "" {
		os.Exit(runFloor(what))
	}
	if raw := os.Getenv(specVariable); raw != "" {
		var s Spec
		if err := json.Unmarshal([]byte(raw), &s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		r := s.run()
		json.NewEncoder(os.Stdout).Encode(r)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// servePager is a pager process.
func servePager() int {
	conn, err := connection()
	if err == nil {
		err = handoff.Serve(context.Background(), conn, handoff.Remote{Log: slog.New(slog.DiscardHandler)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// point tells the test that the guest has come to a point, and waits until the
// test says to go on.
func point(name string) {
	fmt.Println(pointPrefix + name)
	var b [1]byte
	os.Stdin.Read(b[:])
}

const pointPrefix = "point "

// Run starts cmd, made by Command, calls at for each point that the guest comes
// to (it waits meanwhile), and returns its result.
func Run(cmd *exec.Cmd, at func(point string)) (Result, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	goOn, err := cmd.StdinPipe()
	if err != nil {
		return Result{}, err
	}
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	var r Result
	var parseErr error
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), pointPrefix); ok {
			at(name)
			goOn.Write([]byte{'\n'})
		} else if line != "" {
			parseErr = json.Unmarshal([]byte(line), &r)
		}
		if err != nil {
			break
		}
	}
	return r, errors.Join(cmd.Wait(), parseErr)
}

// Command returns the command that runs the guest, with extra files from
// descriptor 3 on.
func (s *Spec) Command(files ...*os.File) (*exec.Cmd, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), specVariable+"="+string(raw))
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	return cmd, nil
}
