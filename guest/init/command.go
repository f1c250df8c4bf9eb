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
func runCommand(c cmdline.Command, host *hostLink, r *reaper) report.Message {
	p, err := start(c, host, r)
	if err != nil {
		logError(err)
		return report.Failure(exitCode(err), err.Error())
	}
	defer forwardSignals(p, host)()
	status, err := r.until(p)
	switch {
	case err != nil:
		return fail(err)
	case status.Signaled():
		return report.Killed(uint8(status.Signal()))
	}
	return report.Exit(uint8(status.ExitStatus()))
}

// start executes c. The host is told just before.
func start(c cmdline.Command, host *hostLink, r *reaper) (*process, error) {
	prog, err := findProgram(c)
	if err != nil {
		return nil, err
	}
	stdio, err := openStdio(c, prog.who)
	if err != nil {
		return nil, err
	}
	defer stdio.close()
	host.tell(report.Start(uptime()))
	return r.start(func() (int, error) { return prog.fork(stdio.fds(), stdio.terminal) })
}

// program is what a Command comes to in this root.
type program struct {
	path, dir string
	argv, env []string
	who       account
}

// findProgram looks up everything that c names.
func findProgram(c cmdline.Command) (program, error) {
	who, err := lookUpAccount(c.User)
	if err != nil {
		return program{}, err
	}
	p := program{argv: c.Argv, env: environment(c, who), who: who}
	if p.dir, err = workingDirectory(c, who); err != nil {
		return p, err
	}
	p.path, err = lookPath(c.Argv[0], p.dir, p.env)
	return p, err
}

// fork executes the program in a session of its own, which the first of its
// files controls if that is a terminal.
func (p program) fork(files []uintptr, terminal bool) (int, error) {
	pid, err := syscall.ForkExec(p.path, p.argv, &syscall.ProcAttr{
		Dir: p.dir, Env: p.env, Files: files,
		Sys: &syscall.SysProcAttr{
			Setsid: true, Setctty: terminal, Ctty: 0,
			Credential: &syscall.Credential{Uid: p.who.uid, Gid: p.who.gid, Groups: p.who.groups},
		},
	})
	if err != nil {
		return 0, fmt.Errorf("execute %s: %w", p.path, err)
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
