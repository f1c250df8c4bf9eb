package cmdline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Words gives the words of the kernel's command line that tell c, to be joined
// with the kernel's own (Join). Arguments of Init come last, after "--": put
// other words before them.
func (c Config) Words() ([]string, error) {
	words, err := c.Root.words()
	if err != nil {
		return nil, err
	}
	for _, m := range c.Mounts {
		w, err := m.word()
		if err != nil {
			return nil, err
		}
		words = append(words, w)
	}
	for _, l := range c.Links {
		w, err := l.word()
		if err != nil {
			return nil, err
		}
		words = append(words, w)
	}
	if c.Hostname != "" {
		words = append(words, wordHostname+"="+c.Hostname)
	}
	if c.Debug {
		words = append(words, wordDebug)
	}
	if c.Command != nil {
		w, err := c.Command.Word()
		if err != nil {
			return nil, err
		}
		return append(words, w), nil
	}
	if c.Init != "" {
		words = append(words, wordInit+"="+c.Init)
	}
	if len(c.InitArgs) > 0 {
		words = append(append(words, "--"), c.InitArgs...)
	}
	return words, nil
}

func (r Root) words() ([]string, error) {
	if r.Device.Kind == NoDevice {
		return nil, nil
	}
	if d, err := ParseDevice(r.Device.String()); err != nil || d != r.Device {
		return nil, fmt.Errorf("root device %v: not one that root= can tell", r.Device)
	}
	words := []string{wordRoot + "=" + r.Device.String()}
	if r.FSType != "" {
		words = append(words, wordFSType+"="+r.FSType)
	}
	if r.Flags != "" {
		words = append(words, wordRootFlags+"="+r.Flags)
	}
	if r.ReadOnly {
		words = append(words, wordReadOnly)
	}
	if r.Wait > 0 {
		words = append(words, fmt.Sprintf("%s=%d", wordRootWait, max(1, r.Wait/time.Second)))
	}
	if r.Overlay {
		w := wordOverlay + "=" + overlayTmpfs
		if r.OverlaySize != "" {
			w += ":" + r.OverlaySize
		}
		if r.OverlayDevice.Kind != NoDevice {
			w = wordOverlay + "=" + r.OverlayDevice.String()
		}
		words = append(words, w)
	}
	return words, nil
}

func (l Link) word() (string, error) {
	if err := l.check(); err != nil {
		return "", err
	}
	fields := []string{l.Device}
	for _, a := range l.Addrs {
		fields = append(fields, a.String())
	}
	for _, g := range l.Gateways {
		fields = append(fields, "gw="+g.String())
	}
	for _, d := range l.DNS {
		fields = append(fields, "dns="+d.String())
	}
	if l.MTU > 0 {
		fields = append(fields, "mtu="+strconv.Itoa(l.MTU))
	}
	return wordIP + "=" + strings.Join(fields, ","), nil
}

// Join makes one command line of words, quoting those with spaces in them as
// the kernel does, and tells which can't be put or whether it is too long: a
// long command goes into the initramfs (CommandFile).
func Join(words []string) (string, error) {
	quoted := make([]string, len(words))
	for i, w := range words {
		q, err := quote(w)
		if err != nil {
			return "", err
		}
		quoted[i] = q
	}
	line := strings.Join(quoted, " ")
	if len(line) > MaxLength {
		return "", fmt.Errorf("kernel command line: %d bytes, more than the %d that Linux takes on x86", len(line), MaxLength)
	}
	return line, nil
}

// quote quotes a word. Linux's quotes (lib/cmdline.c, next_arg) can't be escaped.
func quote(w string) (string, error) {
	for _, r := range w {
		if r == '"' || r < ' ' || r == 0x7f {
			return "", fmt.Errorf("kernel command line: %q: quotes and control characters can't be put there", w)
		}
	}
	if w == "" {
		return `""`, nil
	}
	if !strings.Contains(w, " ") {
		return w, nil
	}
	if name, value, ok := strings.Cut(w, "="); ok && !strings.Contains(name, " ") {
		return name + `="` + value + `"`, nil
	}
	return `"` + w + `"`, nil
}

// split cuts a command line into words as the kernel's next_arg does. Quotes
// around a word or around its value are dropped.
func split(line string) []string {
	var words []string
	inQuote, start := false, -1
	for i := 0; i <= len(line); i++ {
		if i == len(line) || (!inQuote && isSpace(line[i])) {
			if start >= 0 {
				words = append(words, unquote(line[start:i]))
			}
			start = -1
			continue
		}
		if start < 0 {
			start = i
		}
		if line[i] == '"' {
			inQuote = !inQuote
		}
	}
	return words
}

func unquote(w string) string {
	if inner, ok := strings.CutPrefix(w, `"`); ok {
		return strings.TrimSuffix(inner, `"`)
	}
	name, value, ok := strings.Cut(w, "=")
	inner, quoted := strings.CutPrefix(value, `"`)
	if !ok || !quoted {
		return w
	}
	return name + "=" + strings.TrimSuffix(inner, `"`)
}

func isSpace(b byte) bool { return b == ' ' || (b >= '\t' && b <= '\r') }
