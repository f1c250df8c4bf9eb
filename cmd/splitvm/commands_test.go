package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// eachCommand calls f with every command that --help shows, by its words.
func eachCommand(c *cli.Command, words []string, f func(words []string, c *cli.Command)) {
	f(words, c)
	for _, sub := range c.Commands {
		if !sub.Hidden {
			eachCommand(sub, append(slices.Clip(words), sub.Name), f)
		}
	}
}

// find is the command of the words that an example begins with, and what is left.
func find(c *cli.Command, words []string) (*cli.Command, []string) {
	for len(words) > 0 {
		sub := c.Command(words[0])
		if sub == nil {
			break
		}
		c, words = sub, words[1:]
	}
	return c, words
}

// examples are the command lines of a description: lines that are indented, as words.
func examples(description string) (list [][]string) {
	_, after, _ := strings.Cut(description, "Example")
	after = strings.ReplaceAll(after, "\\\n", " ")
	for line := range strings.Lines(after) {
		if strings.HasPrefix(line, "   ") && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			list = append(list, strings.Fields(line))
		}
	}
	return list
}

// Every command has an example; those of splitvm itself are of commands and flags that
// there are, and one is of the command that it is about.
func TestExamples(t *testing.T) {
	eachCommand(root(), nil, func(path []string, c *cli.Command) {
		name := strings.Join(path, " ")
		if name == "" { // its commands are the help
			return
		}
		own := false
		for _, words := range examples(c.Description) {
			at := slices.Index(words, "splitvm")
			if at < 0 || at > 0 && words[at-1] != "|" {
				continue
			}
			used, rest := find(root(), words[at+1:])
			if used.Name == "splitvm" {
				t.Errorf("%s: no command is used in %q", name, words)
			}
			own = own || used == c || strings.HasPrefix(strings.Join(words[at+1:], " ")+" ", name+" ")
			checkFlags(t, name, used, rest)
		}
		if !own {
			t.Errorf("%s: --help has no example of it", name)
		}
	})
}

// checkFlags looks at the flags of an example, up to the command that it runs.
func checkFlags(t *testing.T, name string, c *cli.Command, words []string) {
	t.Helper()
	if c.SkipFlagParsing {
		return
	}
	for _, w := range words {
		if w == "--" || strings.ContainsAny(w, "|&#;") {
			return
		}
		flag, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
		known := flag == "help" || slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) })
		if w == "-" { // standard input or output
			continue
		}
		for _, letter := range flag { // -it is -i -t
			if known || strings.HasPrefix(w, "--") {
				break
			}
			known = slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), string(letter)) })
		}
		if strings.HasPrefix(w, "-") && !known {
			t.Errorf("%s: its example uses %s, which %s does not have", name, w, c.Name)
		}
	}
}

// Whatever lists or describes does it as a table, and for programs.
func TestOutputs(t *testing.T) {
	lists := []string{"ls", "ps", "status", "stats", "inspect", "events", "doctor", "syscalls", "version", "rebalance", "drain"}
	n := 0
	eachCommand(root(), nil, func(path []string, c *cli.Command) {
		if !slices.Contains(lists, c.Name) {
			return
		}
		n++
		i := slices.IndexFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), "output") && slices.Contains(f.Names(), "o") })
		if i < 0 {
			t.Errorf("splitvm %s has no -o", strings.Join(path, " "))
			return
		}
		f := c.Flags[i].(*cli.StringFlag)
		for _, format := range []string{"json", "yaml", "table"} {
			if err := f.Validator(format); err != nil {
				t.Errorf("splitvm %s: %v", strings.Join(path, " "), err)
			}
		}
		if f.Validator("xml") == nil {
			t.Errorf("splitvm %s prints as xml", strings.Join(path, " "))
		}
	})
	if n < len(lists) {
		t.Errorf("%d commands list, of %d that are meant", n, len(lists))
	}
}

// The scripts are ones that their shells read, where there are such shells, and ask this
// program.
func TestCompletionScripts(t *testing.T) {
	r := &testRack{t: t, dir: t.TempDir()}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := r.must("", "completion", shell)
		if !strings.Contains(script, "--generate-shell-completion") || !strings.Contains(script, "splitvm") {
			t.Errorf("%s: %s", shell, script)
		}
		if program, err := exec.LookPath(shell); err == nil {
			cmd := exec.Command(program, "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s does not read its script: %v: %s", shell, err, out)
			}
		}
	}
}

// Tab after a command names what that is about: vNodes that run or don't, monitors, each
// once, commands and flags.
func TestCompletion(t *testing.T) {
	r := startRack(t, 1)
	r.start("up")
	r.must("", "create", "--name", "rests", "--bare", "exit")
	for _, c := range []struct{ line, want string }{
		{"stop", "up"},
		{"kill up", ""},
		{"exec", "up"},
		{"start", "rests"},
		{"rm", "rests"},
		{"inspect", "rests up"},
		{"inspect up", ""},
		{"vregion ls", "rests up"},
		{"stop --global 127.0.0.1:1", ""},
		{"monitor drain", "m"}, // a processor monitor can't
		{"volume inspect", ""},
	} {
		got := ""
		for range 50 { // a rack that does not answer within a second has no names
			names := strings.Fields(r.must("", append(strings.Fields(c.line), "--generate-shell-completion")...))
			slices.Sort(names)
			if got = strings.Join(names, " "); got == c.want || got != "" {
				break
			}
		}
		if got != c.want {
			t.Errorf("splitvm %s [Tab]: %q, want %q", c.line, got, c.want)
		}
	}
	for line, want := range map[string]string{"": "top:", "monitor": "drain:", "top --so": "--sort", "stop --glo": "--global"} {
		if got := r.must("", append(strings.Fields(line), "--generate-shell-completion")...); !strings.Contains(got, want) {
			t.Errorf("splitvm %s [Tab]: %q, want %q in it", line, got, want)
		}
	}
	r.must("", "rm", "rests")
}
