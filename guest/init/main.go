//go:build linux && amd64

// Command init is process 1 of a splitvm guest: the /init of the initramfs that
// images/initramfs makes for a stock distribution kernel.
//
// It loads the modules that the devices in front of it need, mounts the root and
// switches to it, sets up the network, runs one command as the host asked on
// the kernel's command line (package cmdline), tells the host the command's
// status (package report) and powers off. Without a command it becomes the init
// system of the root instead.
//
// Beside the command it runs others for the host, as the agent of package agent.
//
// It is not a service manager, knows no DHCP and starts nothing else. It is
// linked statically, and free of anything large: its size is guest memory and
// boot time.
//
// There is one goroutine that does the steps in order and then waits for
// processes; beside it one that forwards signals and one that reads the host's
// requests, both for as long as the command runs; and the agent's, a few per
// session. They share the reaper and nothing else that changes; its lock is held
// for a fork, and never with another.
//
// Failures never leave the guest hanging: each is told to the host and in the
// kernel log, and the guest powers off.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "splitvm-init is process 1 of a guest: splitvm puts it into the initramfs of the kernels that it boots")
		os.Exit(2)
	}
	host, processes := &hostLink{}, newReaper()
	msg := run(host, processes)
	shutDown(processes)
	host.tell(msg)
	powerOff()
}

// run does all that comes before the end of the guest, and says what to report.
func run(host *hostLink, processes *reaper) (msg report.Message) {
	defer func() {
		if r := recover(); r != nil {
			msg = fail(fmt.Errorf("init: %v\n%s", r, debug.Stack()))
		}
	}()
	if err := mountKernelFilesystems(); err != nil {
		return fail(err)
	}
	openLog()
	cfg, cfgErr := readConfig()
	if cfg.Debug {
		beVerbose()
	}
	step("init started")
	loader := newLoader()
	loader.loadForDevices()
	step("modules loaded")
	host.open()        // while /sys and /dev are where they are: what fails later must be told too
	if cfgErr != nil { // told only now: the host's port needs its modules
		return fail(cfgErr)
	}
	if err := prepareRoot(cfg, loader); err != nil {
		return fail(err)
	}
	if err := setUpNetwork(cfg); err != nil {
		return fail(err)
	}
	step("network set up")
	if cfg.Command == nil {
		return fail(becomeInit(cfg))
	}
	serveAgent(processes, *cfg.Command)
	return runCommand(*cfg.Command, host, processes)
}

// fail logs err and makes the message of it.
func fail(err error) report.Message {
	logError(err)
	return report.Failure(report.ExitFailed, err.Error())
}

// readConfig reads the command line and, if the command is not there, its file.
func readConfig() (cmdline.Config, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return cmdline.Config{}, fmt.Errorf("read the kernel's command line: %w", err)
	}
	cfg, err := cmdline.Parse(string(line))
	if err != nil || cfg.Command != nil {
		return cfg, err
	}
	data, err := os.ReadFile(cmdline.CommandFile)
	if os.IsNotExist(err) {
		return cfg, nil
	}
	if err != nil {
		return cfg, fmt.Errorf("read the command: %w", err)
	}
	c, err := cmdline.ParseCommand(data)
	cfg.Command = &c
	return cfg, err
}

// becomeInit executes the root's init system in place of this process. It
// returns only if it can't.
func becomeInit(cfg cmdline.Config) error {
	path := cfg.Init
	if path == "" {
		path = cmdline.DefaultInit
	}
	err := unix.Exec(path, append([]string{path}, cfg.InitArgs...), os.Environ())
	return fmt.Errorf("no command was given (splitvm.cmd=) and %s of the root can't be executed: %w", path, err)
}
