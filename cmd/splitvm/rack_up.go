package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// upTime is what a rack has to come up.
const upTime = 90 * time.Second

func rackUpCommand() *cli.Command {
	return &cli.Command{
		Name:  "up",
		Usage: "start a rack on this host",
		Description: `Starts the rack's monitors as processes of this host and returns when all have
joined. Their logs are in DIR/logs. Commands that talk to a rack find this one by
themselves. On a rack that is up, it starts those monitors again that have ended.

Examples:
   splitvm rack up                                    # 1 global, 1 processor, 2 memory, 1 storage monitor
   splitvm rack up --globals 3 --memories 4 --memory 4G
   splitvm run --global auto --bare verify --mem 64M    # on it; so does any host with --global HOST:PORT`,
		Flags: append([]cli.Flag{rackDirFlag()}, planFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			p, err := planOf(c)
			if err != nil {
				return &exitError{exitUsage, fmt.Errorf("rack up: %w", err)}
			}
			dir, err := filepath.Abs(c.String("dir"))
			if err != nil {
				return err
			}
			if r, err := readRack(dir); err == nil {
				if err := r.revive(ctx); err != nil {
					return fmt.Errorf("rack up: %w", err)
				}
				return nil
			}
			if err := rackUp(ctx, dir, p); err != nil {
				return fmt.Errorf("rack up: %w", err)
			}
			fmt.Fprintf(c.Root().Writer, "The rack is up: %d global, %d processor, %d memory and %d storage monitors. `splitvm rack status` shows it, `splitvm rack down` ends it.\n",
				p.Globals, p.Processors, p.Memories, p.Storages)
			return nil
		},
	}
}

// rackUp starts all or nothing.
func rackUp(ctx context.Context, dir string, p rackPlan) (err error) {
	if pids, err := rackPIDs(dir); err != nil || len(pids) > 0 {
		return errors.Join(err, fmt.Errorf("a rack runs in %s already: `splitvm rack down` ends it", dir))
	}
	r := &rackRecord{dir: dir}
	if r.Processes, r.Global, err = p.processes(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tearDown(dir, r))
		}
	}()
	for i := range r.Processes {
		if err := r.Processes[i].start(dir); err != nil {
			return err
		}
	}
	if err := r.save(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	return r.complete(ctx)
}

// revive starts the monitors that have ended.
func (r *rackRecord) revive(ctx context.Context) error {
	for i := range r.Processes {
		p := &r.Processes[i]
		if !gone(p.PID) && ofRack(p.PID, r.dir) {
			continue
		}
		if err := p.start(r.dir); err != nil {
			return err
		}
		fmt.Println("started again:", p.Name)
	}
	if err := r.save(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	return r.complete(ctx)
}

// start starts a monitor of a rack in a process group of its own.
func (p *rackProcess) start(dir string) error {
	log, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, p.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), rackMark+dir)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.PID = cmd.Process.Pid
	return cmd.Process.Release()
}

// complete waits until all monitors have joined.
func (r *rackRecord) complete(ctx context.Context) error {
	conn, err := rack.Dial([]string{r.Global})
	if err != nil {
		return err
	}
	defer conn.Close()
	want := 0
	for _, p := range r.Processes {
		if p.Role != "global" {
			want++
		}
	}
	for {
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		list, err := api.NewMembersClient(conn).ListMembers(call, &api.ListMembersRequest{})
		cancel()
		if err == nil && len(list.Members) >= want {
			return nil
		}
		for _, p := range r.Processes {
			if gone(p.PID) {
				return fmt.Errorf("%s ended: %s", p.Name, lastLine(p.Log))
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d of %d monitors joined: %w", len(list.GetMembers()), want, ctx.Err()), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// gone tells whether a process has ended; a child that nobody waited for has.
func gone(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(raw), ") ")
	return strings.HasPrefix(after, "Z")
}

func lastLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}
