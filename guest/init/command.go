//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// runCommand runs c to its end, reaping on the way every process that lost its
// parent, and says how it went.
func runCommand(c cmdline.Command, host *hostLink) report.Message {
	pid, err := start(c, host)
	if err != nil {
		logError(err)
		return report.Failure(exitCode(err), err.Error())
	}
	stop, err := forwardSignals(pid, host)
	if err != nil {
		return fail(err)
	}
	defer stop()
	status, err := reap(pid)
	switch {
	case err != nil:
		return fail(err)
	case status.Signaled():
		return report.Killed(uint8(status.Signal()))
	}
	return report.Exit(uint8(status.ExitStatus()))
}

// start executes c and gives its process id. The host is told just before.
func start(c cmdline.Command, host *hostLink) (int, error) {
	who, err := lookUpAccount(c.User)
	if err != nil {
		return 0, err
	}
	env := environment(c, who)
	dir, err := workingDirectory(c, who)
	if err != nil {
		return 0, err
	}
	path, err := lookPath(c.Argv[0], dir, env)
	if err != nil {
		return 0, err
	}
	stdio, err := openStdio(c, who)
	if err != nil {
		return 0, err
	}
	defer stdio.close()
	host.tell(report.Start(uptime()))
	pid, err := syscall.ForkExec(path, c.Argv, &syscall.ProcAttr{
		Dir: dir, Env: env, Files: stdio.fds(),
		Sys: &syscall.SysProcAttr{
			Setsid: true, Setctty: stdio.terminal, Ctty: 0,
			Credential: &syscall.Credential{Uid: who.uid, Gid: who.gid, Groups: who.groups},
		},
	})
	if err != nil {
		return 0, fmt.Errorf("execute %s: %w", path, err)
	}
	return pid, nil
}

// workingDirectory is where the command runs: the directory that was asked for, or else the
// user's home.
func workingDirectory(c cmdline.Command, who account) (string, error) {
	dir := c.Cwd
	if dir == "" {
		dir = who.home
	}
	if c.MakeCwd && c.Cwd != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", fmt.Errorf("make the working directory: %w", err)
		}
	}
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return dir, nil
	}
	if c.Cwd != "" {
		return "", fmt.Errorf("working directory %s: not a directory of the root", dir)
	}
	return "/", nil
}

// exitCode is what a shell exits with after the error of start.
func exitCode(err error) uint8 {
	switch {
	case errors.Is(err, unix.ENOENT):
		return report.ExitNotFound
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC):
		return report.ExitNotExecutable
	}
	return report.ExitFailed
}

// environment is the environment of c: its own entries over the defaults.
func environment(c cmdline.Command, who account) []string {
	env := []string{"PATH=" + defaultPath, "HOME=" + who.home, "USER=" + who.name}
	if c.TTY {
		env = append(env, "TERM=linux")
	}
	for _, e := range c.Env {
		name, _, _ := strings.Cut(e, "=")
		env = append(unset(env, name), e)
	}
	return env
}

func unset(env []string, name string) []string {
	kept := env[:0]
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			kept = append(kept, e)
		}
	}
	return kept
}

// lookPath finds the program in the PATH of env as execvp does, from the
// directory dir.
func lookPath(program, dir string, env []string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	var path string
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			path = p
		}
	}
	found := unix.ENOENT
	for _, d := range strings.Split(path, ":") {
		if !strings.HasPrefix(d, "/") {
			d = dir + "/" + d
		}
		candidate := strings.TrimSuffix(d, "/") + "/" + program
		st, err := os.Stat(candidate)
		if err != nil || st.IsDir() {
			continue
		}
		if st.Mode()&0o111 != 0 {
			return candidate, nil
		}
		found = unix.EACCES
	}
	return "", fmt.Errorf("%s in PATH=%s: %w", program, path, found)
}

// reap waits for every process until the one with the id ends. There is no other
// waiter, so none is missed.
func reap(pid int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the command: %w", err)
		case got == pid:
			return status, nil
		}
	}
}
