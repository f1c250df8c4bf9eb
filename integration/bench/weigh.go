package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
)

// weight is resident memory in MiB.
type weight struct {
	total   float64 // without the guest's
	private float64 // part of total: anonymous
}

// guestRAM is what the mapping of a local guest's RAM is called in smaps.
const guestRAM = "/memfd:splitvm-ram"

// weigh adds up a process's mappings, less guest RAM.
func weigh(pid int) (weight, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return weight{}, fmt.Errorf("weigh splitvm: %w", err)
	}
	var w weight
	var guest bool
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		line := lines.Text()
		var kib float64
		switch key, rest, _ := strings.Cut(line, ":"); {
		case strings.Contains(key, " "): // the head of a mapping: its name follows the fifth field
			guest = strings.Contains(line, guestRAM)
		case guest:
		case key == "Rss":
			fmt.Sscan(rest, &kib)
			w.total += kib / 1024
		case key == "Anonymous":
			fmt.Sscan(rest, &kib)
			w.private += kib / 1024
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
