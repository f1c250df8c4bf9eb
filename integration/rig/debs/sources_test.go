package debs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var compareSources = cmp.AllowUnexported(source{})

func TestParseDeb822(t *testing.T) {
	const text = `# the archive
Types: deb deb-src
URIs: http://mirror.example/debian
# a comment within
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.example/sources
Suites: bookworm
Components: main


Enabled: no
Types: deb
URIs: http://mirror.example/off
Suites: bookworm
Components: main

types: deb
uris: https://a.example/x https://b.example/x
suites: trixie
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
`
	got, err := parseDeb822(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []source{
		{[]string{"http://mirror.example/debian"}, []string{"bookworm", "bookworm-updates"}, []string{"main", "contrib"}, "/usr/share/keyrings/debian-archive-keyring.gpg"},
		{[]string{"https://a.example/x", "https://b.example/x"}, []string{"trixie"}, []string{"main"}, "\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n.\nmQINBF\n-----END PGP PUBLIC KEY BLOCK-----"},
	}
	if diff := cmp.Diff(want, got, compareSources); diff != "" {
		t.Error(diff)
	}
	again, err := parseDeb822(strings.NewReader(deb822(got)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again, compareSources); diff != "" {
		t.Errorf("written and read again: %s", diff)
	}
}

func TestParseDeb822Errors(t *testing.T) {
	for _, text := range []string{" continued\n", "no colon here\n", "Types: deb\n\n continued\n"} {
		if got, err := parseDeb822(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestParseList(t *testing.T) {
	const text = `# comment
deb http://mirror.example/debian bookworm main contrib # and more
deb-src http://mirror.example/debian bookworm main

deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian-security bookworm-security main
deb	[ signed-by=/k2.gpg ]	http://tab.example/debian	stable	main
deb http://flat.example/ ./
debug http://no.example/ x
`
	got, err := parseList(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []source{
		{[]string{"http://mirror.example/debian"}, []string{"bookworm"}, []string{"main", "contrib"}, ""},
		{[]string{"http://mirror.example/debian-security"}, []string{"bookworm-security"}, []string{"main"}, "/k.gpg"},
		{[]string{"http://tab.example/debian"}, []string{"stable"}, []string{"main"}, "/k2.gpg"},
		{[]string{"http://flat.example/"}, []string{"./"}, []string{}, ""},
	}
	if diff := cmp.Diff(want, got, compareSources); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"deb [arch=amd64 http://x main", "deb http://only-uri"} {
		if got, err := parseList(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func TestRigSources(t *testing.T) {
	main := source{[]string{"http://m/debian"}, []string{"bookworm", "bookworm-updates"}, []string{"main"}, "/key"}
	security := source{[]string{"http://m/security"}, []string{"bookworm-security"}, []string{"main"}, "/key"}
	backports := source{[]string{"http://b/debian"}, []string{"bookworm-backports"}, []string{"main"}, "/other"}
	trixie := source{[]string{"http://m/new"}, []string{"trixie"}, []string{"main", "contrib"}, ""}
	vendor := source{[]string{"http://v/apt"}, []string{"nodistro"}, []string{"main"}, ""}
	want := func(uri, suite, key string) source {
		return source{[]string{uri}, []string{suite}, []string{"main"}, key}
	}
	tests := []struct {
		name   string
		system []source
		mirror string
		want   []source
		err    error
	}{
		{name: "usual", system: []source{vendor, main, security}, want: []source{
			want("http://m/debian", "bookworm", "/key"), want("http://m/security", "bookworm-security", "/key"), want("http://m/debian", "bookworm-backports", "/key")}},
		{name: "own backports", system: []source{main, backports}, want: []source{
			want("http://m/debian", "bookworm", "/key"), want("http://b/debian", "bookworm-backports", "/other")}},
		{name: "another release", system: []source{trixie}, want: []source{
			want("http://m/new", "bookworm", ""), want("http://m/new", "bookworm-backports", "")}},
		{name: "own release first", system: []source{trixie, main}, want: []source{
			want("http://m/debian", "bookworm", "/key"), want("http://m/debian", "bookworm-backports", "/key")}},
		{name: "mirror", system: []source{main, security, backports}, mirror: "file:///srv/debian", want: []source{
			want("file:///srv/debian", "bookworm", "/key"), want("file:///srv/debian", "bookworm-backports", "/key")}},
		{name: "none", system: []source{vendor}, err: errNoMirror},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := rigSources(test.system, test.mirror)
			if err != test.err {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got, compareSources); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSystemSources(t *testing.T) {
	etc := t.TempDir()
	if err := os.Mkdir(filepath.Join(etc, "sources.list.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"sources.list":                      "deb http://old/debian bookworm main\n",
		"sources.list.d/a.list":             "deb http://list/debian bookworm main\n",
		"sources.list.d/b.sources":          "Types: deb\nURIs: http://new/debian\nSuites: bookworm\nComponents: main\n",
		"sources.list.d/c.sources.disabled": "rubbish",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := systemSources(etc)
	if err != nil {
		t.Fatal(err)
	}
	var uris []string
	for _, s := range got {
		uris = append(uris, s.uris...)
	}
	if diff := cmp.Diff([]string{"http://old/debian", "http://new/debian", "http://list/debian"}, uris); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseSources(f *testing.F) {
	f.Add("Types: deb\nURIs: x\nSuites: y\n\n z: w")
	f.Add("deb [a=b] c d e # f")
	f.Fuzz(func(t *testing.T, text string) {
		if sources, err := parseDeb822(strings.NewReader(text)); err == nil {
			for _, s := range sources {
				_ = deb822([]source{s})
			}
		}
		sources, err := parseList(strings.NewReader(text))
		for _, s := range sources {
			if err == nil && (len(s.uris) != 1 || len(s.suites) != 1) {
				t.Errorf("%q: %+v", text, s)
			}
		}
	})
}
