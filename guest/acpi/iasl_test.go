package acpi

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Intel's compiler reads every table without complaint, and makes the DSDT
// again, byte for byte, from what it disassembles.
func TestIASL(t *testing.T) {
	iasl, err := exec.LookPath("iasl")
	if err != nil {
		t.Skip("needs iasl: install acpica-tools")
	}
	b, err := Tables(Config{CPUs: 64})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(want string, args ...string) {
		t.Helper()
		out, err := exec.Command(iasl, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("iasl %v: %v\n%s", args, err, out)
		}
	}
	for name, table := range firmware(b).tables(t) {
		aml := filepath.Join(dir, name+".aml")
		if err := os.WriteFile(aml, table, 0o600); err != nil {
			t.Fatal(err)
		}
		run("valid ACPI table", "-d", aml)
		run(" 0 Errors, 0 Warnings, 0 Remarks", filepath.Join(dir, name+".dsl")) // writes aml again
		got, err := os.ReadFile(aml)
		if err != nil {
			t.Fatal(err)
		}
		// The header names the compiler that made it, so only what follows it
		// is the same; of the FACS, which has none, all.
		skip := headerSize
		if name == "FACS" {
			skip = 0
		}
		if !bytes.Equal(got[skip:], table[skip:]) {
			t.Errorf("%s made again differs:\n% x\n% x", name, got[skip:], table[skip:])
		}
	}
}
