// Command gen writes the generated table of package linuxabi from gVisor's
// table of system calls, the only package of splitvm that imports the Sentry,
// and from golang.org/x/sys/unix for the calls that gVisor's table lacks.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "", "write the table to `FILE`; the standard output if empty")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	source, err := generate()
	if err != nil {
		return err
	}
	if out == "" {
		_, err = os.Stdout.Write(source)
		return err
	}
	return os.WriteFile(out, source, 0o644)
}
