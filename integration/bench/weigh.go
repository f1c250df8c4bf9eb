package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// weight is resident memory in MiB.
type weight struct {
	total   float64 // without the guest's
	private float64 // part of total: anonymous
}

// guestRAM is the flag in smaps by which a local guest's RAM is known: of a Go
// program's mappings it is the only one that asks for huge pages.
const guestRAM = "hg"

// weigh adds up a process's mappings, less guest RAM.
func weigh(pid int) (weight, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return weight{}, fmt.Errorf("weigh splitvm: %w", err)
	}
	var w, mapping weight
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var kib float64
		switch key, rest, _ := strings.Cut(lines.Text(), ":"); key {
		case "Rss":
			fmt.Sscan(rest, &kib)
			mapping.total = kib / 1024
		case "Anonymous":
			fmt.Sscan(rest, &kib)
			mapping.private = kib / 1024
		case "VmFlags": // a mapping's last line
			if !slices.Contains(strings.Fields(rest), guestRAM) {
				w.total += mapping.total
				w.private += mapping.private
			}
		}
	}
	return w, nil
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

const maxTail = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-maxTail):]
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.text)) }
