package debs

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A source is one archive that apt knows: a stanza of a .sources file, or a line
// of a .list file (sources.list(5)).
type source struct {
	uris       []string
	suites     []string
	components []string
	signedBy   string // a path, a fingerprint or a whole key, as written; may be empty
}

// parseDeb822 reads the stanzas of a .sources file and returns those which are
// enabled and hold binary packages.
func parseDeb822(r io.Reader) ([]source, error) {
	stanzas, err := readStanzas(r)
	if err != nil {
		return nil, err
	}
	var out []source
	for _, fields := range stanzas {
		enabled := strings.ToLower(fields["enabled"])
		if enabled == "no" || enabled == "false" || enabled == "0" {
			continue
		}
		if !slices.Contains(strings.Fields(fields["types"]), "deb") {
			continue
		}
		out = append(out, source{
			uris:       strings.Fields(fields["uris"]),
			suites:     strings.Fields(fields["suites"]),
			components: strings.Fields(fields["components"]),
			signedBy:   fields["signed-by"],
		})
	}
	return out, nil
}

// readStanzas splits deb822 text into stanzas, each a map from lower-case field
// name to value; continuation lines are joined with newlines.
func readStanzas(r io.Reader) ([]map[string]string, error) {
	var out []map[string]string
	var cur map[string]string
	var last string
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			cur, last = nil, ""
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, fmt.Errorf("line %d: a continuation of no field", n)
			}
			cur[last] += "\n" + strings.TrimSpace(line)
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return nil, fmt.Errorf("line %d: no field name in %q", n, line)
			}
			if cur == nil {
				cur = make(map[string]string)
				out = append(out, cur)
			}
			last = strings.ToLower(strings.TrimSpace(name))
			cur[last] = strings.TrimSpace(value)
		}
	}
	return out, in.Err()
}

// parseList reads the one-line entries of a .list file and returns those for
// binary packages.
func parseList(r io.Reader) ([]source, error) {
	var out []source
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line, _, _ := strings.Cut(in.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "deb" {
			continue
		}
		s, err := parseEntry(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "deb")))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, s)
	}
	return out, in.Err()
}

// parseEntry reads what follows "deb": [options] URI suite component...
func parseEntry(s string) (source, error) {
	var src source
	if strings.HasPrefix(s, "[") {
		options, rest, ok := strings.Cut(s[1:], "]")
		if !ok {
			return src, fmt.Errorf("options without an end in %q", s)
		}
		for _, o := range strings.Fields(options) {
			if v, ok := strings.CutPrefix(o, "signed-by="); ok {
				src.signedBy = v
			}
		}
		s = rest
	}
	words := strings.Fields(s)
	if len(words) < 2 {
		return src, fmt.Errorf("no URI and suite in %q", s)
	}
	src.uris, src.suites, src.components = words[:1], words[1:2], words[2:]
	return src, nil
}
