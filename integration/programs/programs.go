// Package programs builds the programs that tests start.
package programs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// files prints the source files of a package of this module.
const files = `{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}
{{end}}{{range .SFiles}}{{$d}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}
{{end}}{{end}}{{end}}`

// Build builds commands of this module, without cgo, into a folder. A result of the test is
// taken from Go's cache only while the sources are the same (go help test): of
// what other processes read the cache knows nothing, so Build looks at all of those files. That
// is noticed between the start of the tests and their end, not in TestMain.
func Build(t testing.TB, dir string, commands ...string) {
	t.Helper()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", append(args, commands...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				out = append(out, exit.Stderr...)
			}
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("build", "-o", filepath.Clean(dir)+"/")
	for file := range strings.FieldsSeq(run("list", "-deps", "-f", files)) {
		if _, err := os.Stat(file); err != nil {
			t.Fatal(err)
		}
	}
}
