package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/bare"
)

// StartConfig says what to start and how often.
type StartConfig struct {
	Binary string   // splitvm
	Memory uint64   // of the guest, in bytes
	CPUs   int      // of the guest
	Runs   int      // measured ones, after one that warms up
	Args   []string // more arguments of `splitvm run`
	// Patience is what one guest has for its first instruction.
	Patience time.Duration
}

// StartReport is what starting a guest costs: milliseconds and MiB.
type StartReport struct {
	MemoryMiB uint64 `json:"memory_mib"`
	CPUs      int    `json:"cpus"`
	// FirstInstruction is from exec of splitvm until the guest's first
	// instructions wrote a byte to the serial port and it arrived here.
	FirstInstruction Summary `json:"first_instruction_ms"`
	// Process is the floor: from exec of `splitvm --version` to its exit.
	Process Summary `json:"process_ms"`
	// Stop is from SIGTERM until the process was gone.
	Stop Summary `json:"stop_ms"`
	// Overhead is the VMM's resident memory less the guest's; Private is the
	// part of it that no file backs.
	Overhead Summary `json:"overhead_mib"`
	Private  Summary `json:"private_mib"`
}

// Start measures starts, interleaved with their floor.
func Start(ctx context.Context, cfg StartConfig) (*StartReport, error) {
	dir, err := os.MkdirTemp("", "splitvm-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench start: %w", err)
	}
	defer os.RemoveAll(dir)
	s := &starter{cfg: cfg, kernel: filepath.Join(dir, "kernel"), serial: filepath.Join(dir, "serial")}
	if err := os.WriteFile(s.kernel, bare.ELF(bare.Greet), 0o600); err != nil {
		return nil, fmt.Errorf("bench start: %w", err)
	}
	if err := unix.Mkfifo(s.serial, 0o600); err != nil {
		return nil, fmt.Errorf("bench start: make a pipe: %w", err)
	}
	for i := range cfg.Runs + 1 {
		if err := errors.Join(s.process(ctx), s.guest(ctx)); err != nil {
			return nil, fmt.Errorf("bench start: run %d: %w", i, err)
		}
		if i == 0 { // it read the executable from disk
			s.started, s.floor, s.stopped, s.overhead, s.private = nil, nil, nil, nil, nil
		}
	}
	return &StartReport{
		MemoryMiB: cfg.Memory >> 20, CPUs: cfg.CPUs, FirstInstruction: Summarize(s.started), Process: Summarize(s.floor),
		Stop: Summarize(s.stopped), Overhead: Summarize(s.overhead), Private: Summarize(s.private),
	}, nil
}

// starter collects the measurements.
type starter struct {
	cfg            StartConfig
	kernel, serial string

	started, floor, stopped, overhead, private []float64
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (s *starter) process(ctx context.Context) error {
	begin := time.Now()
	if out, err := exec.CommandContext(ctx, s.cfg.Binary, "--version").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	s.floor = append(s.floor, milliseconds(time.Since(begin)))
	return nil
}

// guest starts a guest, waits for its byte, weighs the VMM and stops it.
func (s *starter) guest(ctx context.Context) error {
	serial, err := os.OpenFile(s.serial, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer serial.Close()
	args := []string{"run", "--local", "--kernel", s.kernel, "--mem", strconv.FormatUint(s.cfg.Memory, 10), "--cpus", strconv.Itoa(s.cfg.CPUs), "--serial", s.serial}
	var complaint tail
	cmd := exec.CommandContext(ctx, s.cfg.Binary, append(args, s.cfg.Args...)...)
	cmd.Stderr = &complaint
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		serial.SetReadDeadline(begin) // there is nothing to wait for any more
		gone <- err
	}()
	err = s.greeted(serial, begin)
	if err == nil {
		err = s.weigh(cmd.Process.Pid)
	}
	if err != nil {
		cmd.Process.Kill()
		return errors.Join(err, fmt.Errorf("splitvm run: %w: %s", <-gone, complaint.String()))
	}
	if err := s.stop(cmd, gone); err != nil {
		return fmt.Errorf("%w: %s", err, complaint.String())
	}
	return nil
}

func (s *starter) greeted(serial *os.File, begin time.Time) error {
	if err := serial.SetReadDeadline(begin.Add(s.cfg.Patience)); err != nil {
		return err
	}
	var b [1]byte
	if _, err := io.ReadFull(serial, b[:]); err != nil || b[0] != bare.Hello {
		return fmt.Errorf("no word from the guest: read %q, %w", b, err)
	}
	s.started = append(s.started, milliseconds(time.Since(begin)))
	return nil
}

func (s *starter) weigh(pid int) error {
	w, err := weigh(pid)
	if err != nil {
		return err
	}
	s.overhead = append(s.overhead, w.total)
	s.private = append(s.private, w.private)
	return nil
}

// stop ends the process with SIGTERM, of which it dies in order.
func (s *starter) stop(cmd *exec.Cmd, gone <-chan error) error {
	begin := time.Now()
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	force := time.AfterFunc(s.cfg.Patience, func() { cmd.Process.Kill() })
	defer force.Stop()
	err := <-gone
	s.stopped = append(s.stopped, milliseconds(time.Since(begin)))
	if code := cmd.ProcessState.ExitCode(); code != 128+int(unix.SIGTERM) {
		return fmt.Errorf("splitvm run: %w, exit status %d after SIGTERM", err, code)
	}
	return nil
}
