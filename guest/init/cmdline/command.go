package cmdline

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Stdio says what a Command's standard input and outputs are.
type Stdio string

// The kinds of Stdio. Any other value is the path of a device, such as
// /dev/hvc0, which becomes all three.
const (
	// StdioConsole is the kernel's preferred console, the default.
	StdioConsole Stdio = ""
	// StdioPorts are the virtio-console ports named below: each stream goes its
	// own way, byte by byte, with an end of file. Outputs whose port is missing
	// go to the console.
	StdioPorts Stdio = "ports"
	// StdioNone is /dev/null.
	StdioNone Stdio = "none"
)

// Names of the virtio-console ports of StdioPorts.
const (
	StdinPort  = "splitvm.stdin"
	StdoutPort = "splitvm.stdout"
	StderrPort = "splitvm.stderr"
)

// Command is what the guest's init is to run.
type Command struct {
	Argv []string `json:"argv"`           // at least one word; the first is looked up in PATH
	Env  []string `json:"env,omitempty"`  // NAME=value; PATH, HOME and TERM have defaults
	Cwd  string   `json:"cwd,omitempty"`  // absolute; the user's home or / if empty
	User string   `json:"user,omitempty"` // name or uid, [:group or gid]; root if empty

	// MakeCwd has Cwd made where it is not there.
	MakeCwd bool `json:"mkcwd,omitempty"`

	// TTY makes the standard streams the command's controlling terminal, in the
	// usual cooked mode. Without it a console passes bytes through unchanged.
	TTY   bool  `json:"tty,omitempty"`
	Stdio Stdio `json:"stdio,omitempty"`
}

// Check tells what about c is wrong, if something is.
func (c Command) Check() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return errors.New("command: no program to run")
	}
	for _, list := range [][]string{c.Argv, c.Env, {c.Cwd, c.User, string(c.Stdio)}} {
		for _, s := range list {
			if strings.ContainsRune(s, 0) {
				return fmt.Errorf("command: NUL byte in %q", s)
			}
			if !utf8.ValidString(s) {
				return fmt.Errorf("command: %q is not UTF-8: call a script that is in the root", s)
			}
		}
	}
	for _, e := range c.Env {
		if strings.IndexByte(e, '=') < 1 {
			return fmt.Errorf("command: environment entry %q is not NAME=value", e)
		}
	}
	if c.Cwd != "" && c.Cwd[0] != '/' {
		return fmt.Errorf("command: working directory %q is not absolute", c.Cwd)
	}
	switch {
	case c.Stdio == StdioConsole, c.Stdio == StdioPorts, c.Stdio == StdioNone, c.Stdio[0] == '/':
		return nil
	}
	return fmt.Errorf("command: stdio %q is neither %q, %q nor a device's path", c.Stdio, StdioPorts, StdioNone)
}

// JSON gives the content of CommandFile.
func (c Command) JSON() ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	if len(data) > MaxCommandBytes {
		return nil, fmt.Errorf("command: %d bytes of JSON, more than %d: put what it needs into a file of the root", len(data), MaxCommandBytes)
	}
	return data, nil
}

// Word gives the splitvm.cmd= word.
func (c Command) Word() (string, error) {
	data, err := c.JSON()
	if err != nil {
		return "", err
	}
	return wordCommand + "=" + base64.RawURLEncoding.EncodeToString(data), nil
}

// ParseCommand reads a Command's JSON, as in CommandFile.
func ParseCommand(data []byte) (Command, error) {
	var c Command
	if len(data) > MaxCommandBytes {
		return c, fmt.Errorf("command: more than %d bytes of JSON", MaxCommandBytes)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("command: %w", err)
	}
	return c, c.Check()
}

// parseCommandWord reads the value of a splitvm.cmd= word.
func parseCommandWord(value string) (*Command, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wordCommand, err)
	}
	c, err := ParseCommand(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wordCommand, err)
	}
	return &c, nil
}
