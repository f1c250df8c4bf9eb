package debs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// release is the Debian release that the rig is made of. Its backports hold the
// QEMU and the second kernel.
const release = "bookworm"

// releases are suites by which an archive is known to be Debian's (and not
// another distribution's, or a vendor's).
var releases = []string{release, "bullseye", "trixie", "forky", "duke", "sid", "oldoldstable", "oldstable", "stable", "testing", "unstable"}

// MirrorEnv overrides the Debian archive that is taken from apt's sources.
const MirrorEnv = "SPLITVM_DEBIAN_MIRROR"

var errNoMirror = errors.New("no Debian archive among apt's sources: set " + MirrorEnv +
	" to the URI of one (and have debian-archive-keyring installed)")

// systemSources reads apt's sources below etc, which is /etc/apt.
func systemSources(etc string) ([]source, error) {
	var out []source
	files := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.sources", "*.list"} {
		more, err := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	for _, name := range files {
		parse := parseList
		if strings.HasSuffix(name, ".sources") {
			parse = parseDeb822
		}
		sources, err := readSources(name, parse)
		if err != nil {
			return nil, fmt.Errorf("read apt's sources %s: %w", name, err)
		}
		out = append(out, sources...)
	}
	return out, nil
}

func readSources(name string, parse func(io.Reader) ([]source, error)) ([]source, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parse(f)
}

// rigSources picks from the machine's sources the archives that the rig's
// packages come from: the release, its updates for security where the machine
// has an archive for that, and its backports. A mirror given by the user
// replaces the archive and stands for all that it holds.
func rigSources(system []source, mirror string) ([]source, error) {
	main, ok := findArchive(system, "")
	if mirror != "" {
		main, ok = source{uris: []string{mirror}, signedBy: main.signedBy}, true
	}
	if !ok {
		return nil, errNoMirror
	}
	out := []source{{uris: main.uris, suites: []string{release}, components: []string{"main"}, signedBy: main.signedBy}}
	if sec, ok := findArchive(system, "-security"); ok && mirror == "" {
		out = append(out, source{uris: sec.uris, suites: []string{release + "-security"}, components: []string{"main"}, signedBy: sec.signedBy})
	}
	back := main
	if own, ok := findArchive(system, "-backports"); ok && mirror == "" {
		back = own
	}
	return append(out, source{uris: back.uris, suites: []string{release + "-backports"}, components: []string{"main"}, signedBy: back.signedBy}), nil
}

// findArchive returns the first source with a Debian release's suite of the
// given ending, our own release's before any other's.
func findArchive(system []source, ending string) (source, bool) {
	for _, name := range releases {
		for _, s := range system {
			if slices.Contains(s.suites, name+ending) && slices.Contains(s.components, "main") {
				return s, true
			}
		}
	}
	return source{}, false
}

// deb822 writes sources as a .sources file.
func deb822(sources []source) string {
	var b strings.Builder
	for _, s := range sources {
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n",
			strings.Join(s.uris, " "), strings.Join(s.suites, " "), strings.Join(s.components, " "))
		if s.signedBy != "" {
			// A key given in full is many lines, each of which needs its indent.
			fmt.Fprintf(&b, "Signed-By: %s\n", strings.ReplaceAll(s.signedBy, "\n", "\n "))
		}
		b.WriteString("\n")
	}
	return b.String()
}
