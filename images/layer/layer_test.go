package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// archive is a layer in memory.
type archive []byte

func (a archive) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a)), nil }
func (a archive) String() string               { return "test" }

// entries makes a layer. Each entry is a line: "name" or "name=content" for
// files, "name/" for directories, "name->target" for symbolic and "name=>target" for
// hard links.
func entries(t *testing.T, lines ...string) Source {
	t.Helper()
	var list []*tar.Header
	var data []string
	for _, line := range lines {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: line, Mode: 0o644}
		content := ""
		if name, target, ok := strings.Cut(line, "->"); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeSymlink, name, target
		} else if name, target, ok := strings.Cut(line, "=>"); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeLink, name, target
		} else if name, text, ok := strings.Cut(line, "="); ok {
			h.Name, content, h.Size = name, text, int64(len(text))
		} else if strings.HasSuffix(line, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		list, data = append(list, h), append(data, content)
	}
	return headers(t, list, data)
}

func headers(t *testing.T, list []*tar.Header, data []string) Source {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, h := range list {
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%q: %v", h.Name, err)
		}
		if i < len(data) {
			io.WriteString(w, data[i])
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive(b.Bytes())
}

// flatten merges layers and lists what WriteTar writes, in the terms of entries.
func flatten(t testing.TB, layers ...Source) ([]string, error) {
	t.Helper()
	tree, err := Merge(t.Context(), layers, Limits{})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := tree.WriteTar(t.Context(), &b); err != nil {
		return nil, err
	}
	return list(t, &b), nil
}

func list(t testing.TB, r io.Reader) []string {
	t.Helper()
	var lines []string
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			slices.Sort(lines)
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		line := h.Name
		switch h.Typeflag {
		case tar.TypeSymlink:
			line += "->" + h.Linkname
		case tar.TypeLink:
			line += "=>" + h.Linkname
		case tar.TypeReg:
			data, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			if line += "=" + string(data); len(data) == 0 {
				line = h.Name
			}
		}
		lines = append(lines, line)
	}
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]string
		want   []string
	}{
		"files are replaced": {
			[][]string{{"etc/", "etc/a=old", "etc/b=b"}, {"etc/a=new"}},
			[]string{"etc/", "etc/a=new", "etc/b=b"},
		},
		"a directory that no entry has": {[][]string{{"a/b/c=x"}}, []string{"a/", "a/b/", "a/b/c=x"}},
		"a directory again keeps what is in it": {
			[][]string{{"d/", "d/f=1"}, {"d/", "d/g=2"}}, []string{"d/", "d/f=1", "d/g=2"},
		},
		"a file instead of a directory":      {[][]string{{"d/", "d/f=1"}, {"d=file"}}, []string{"d=file"}},
		"a directory instead of a file":      {[][]string{{"d=file"}, {"d/", "d/f=1"}}, []string{"d/", "d/f=1"}},
		"a directory instead of a link":      {[][]string{{"a/", "a/x=1", "l->a"}, {"l/", "l/y=2"}}, []string{"a/", "a/x=1", "l/", "l/y=2"}},
		"a file through a link":              {[][]string{{"usr/lib/", "lib->usr/lib"}, {"lib/f=1"}}, []string{"lib->usr/lib", "usr/", "usr/lib/", "usr/lib/f=1"}},
		"through an absolute link":           {[][]string{{"usr/lib/", "lib->/usr/lib", "lib/f=1"}}, []string{"lib->/usr/lib", "usr/", "usr/lib/", "usr/lib/f=1"}},
		"a link that leads out stays inside": {[][]string{{"l->../../../etc", "l/passwd=x"}}, []string{"etc/", "etc/passwd=x", "l->../../../etc"}},
		"the last of one name in a layer":    {[][]string{{"a=1", "a=2"}}, []string{"a=2"}},
		"absolute names":                     {[][]string{{"/a/b=1", "//c=2", "./d=3"}}, []string{"a/", "a/b=1", "c=2", "d=3"}},
		"up and down within":                 {[][]string{{"a/../b=1"}}, []string{"b=1"}},

		"whiteout of a file":                 {[][]string{{"a=1", "b=2"}, {".wh.a"}}, []string{"b=2"}},
		"whiteout of a directory":            {[][]string{{"d/e/", "d/e/f=1", "g=2"}, {".wh.d"}}, []string{"g=2"}},
		"whiteout of nothing":                {[][]string{{"a=1"}, {".wh.b", "no/such/.wh.dir"}}, []string{"a=1"}},
		"whiteout spares its own layer":      {[][]string{{"a=1"}, {"a=2", ".wh.a"}}, []string{"a=2"}},
		"whiteout before the same name":      {[][]string{{"d/", "d/old=1"}, {".wh.d", "d/", "d/new=2"}}, []string{"d/", "d/new=2"}},
		"whiteout after the same name":       {[][]string{{"d/", "d/old=1"}, {"d/", "d/new=2", ".wh.d"}}, []string{"d/", "d/new=2"}},
		"a file comes back":                  {[][]string{{"a=1"}, {".wh.a"}, {"a=3"}}, []string{"a=3"}},
		"opaque, first":                      {[][]string{{"d/", "d/old=1"}, {"d/", "d/.wh..wh..opq", "d/new=2"}}, []string{"d/", "d/new=2"}},
		"opaque, last":                       {[][]string{{"d/", "d/old=1", "d/s/t=1"}, {"d/s/u=3", "d/new=2", "d/.wh..wh..opq"}}, []string{"d/", "d/new=2", "d/s/", "d/s/u=3"}},
		"opaque root":                        {[][]string{{"a=1", "b/c=2"}, {".wh..wh..opq", "d=3"}}, []string{"d=3"}},
		"notes of aufs":                      {[][]string{{"a=1", ".wh..wh.plnk/", ".wh..wh.aufs"}}, []string{"a=1"}},
		"whiteout of a link, not its target": {[][]string{{"f=1", "l->f"}, {".wh.l"}}, []string{"f=1"}},

		"hard link":                              {[][]string{{"a=1", "b=>a"}}, []string{"a=1", "b=>a"}},
		"hard link to a lower layer":             {[][]string{{"z=1"}, {"a=>z"}}, []string{"a=1", "z=>a"}},
		"hard link whose first name is gone":     {[][]string{{"a=1", "b=>a"}, {".wh.a"}}, []string{"b=1"}},
		"hard link whose first name is replaced": {[][]string{{"a=1", "b=>a"}, {"a=2"}}, []string{"a=2", "b=1"}},
		"hard link to a link":                    {[][]string{{"l->x", "m=>l"}}, []string{"l->x", "m->x"}},
		"hard link to itself":                    {[][]string{{"a=1", "a=>a"}}, []string{"a=1"}},
		"hard link through a link":               {[][]string{{"d/f=1", "l->d", "g=>l/f"}}, []string{"d/", "d/f=1", "g=>d/f", "l->d"}},
	} {
		t.Run(name, func(t *testing.T) {
			var layers []Source
			for _, l := range c.layers {
				layers = append(layers, entries(t, l...))
			}
			got, err := flatten(t, layers...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	loop := entries(t, "a->b", "b->a", "a/x=1")
	long := strings.Repeat("n", 256)
	deep := []string{strings.Repeat("d/", 1500), "l->" + strings.Repeat("d/", 1500)}
	deep = append(deep, "l/"+strings.Repeat("e/", 1000))
	for name, c := range map[string]struct {
		layer Source
		want  error
	}{
		"above the root":                {entries(t, "../etc/passwd=x"), errAbove},
		"above the root, in the middle": {entries(t, "a/../../b=x"), errAbove},
		"hard link above the root":      {entries(t, "a=>../../etc/shadow"), errAbove},
		"hard link to nothing":          {entries(t, "a=>b"), errNoTarget},
		"whiteout of ..":                {entries(t, "d/.wh...=x"), errBadName},
		"whiteout of .":                 {entries(t, "d/.wh..=x"), errBadName},
		"whiteout of no name":           {entries(t, "d/.wh.=x"), errBadName},
		"links in a circle":             {loop, errTangled},
		"below a file":                  {entries(t, "f=1", "f/g=2"), errNotDir},
		"a long name":                   {entries(t, long+"=1"), errBadName},
		"a long path through links":     {entries(t, deep...), errBadName},
	} {
		_, err := flatten(t, c.layer)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
}

// What a tree can hold beside files.
func TestMetadata(t *testing.T) {
	when := time.Unix(1234567890, 0)
	in := []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o1711},
		{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o2750, Uid: 7, Gid: 70000, ModTime: when},
		{Typeflag: tar.TypeReg, Name: "d/su", Mode: 0o4755, Uid: 1, Gid: 2, ModTime: when, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "\x01\x00\x00\x02", "SCHILY.xattr.user.note": "hello",
			"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.system.posix_acl_access": "x",
		}},
		{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: when},
		{Typeflag: tar.TypeBlock, Name: "sda", Mode: 0o660, Devmajor: 8, Devminor: 300, ModTime: when},
		{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600, ModTime: when},
		{Typeflag: tar.TypeReg, Name: "old", ModTime: time.Unix(-5, 0), Format: tar.FormatPAX},
	}
	tree, err := Merge(t.Context(), []Source{headers(t, in, nil)}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if tree.RootMode() != 0o1711 {
		t.Errorf("the root's mode is %o", tree.RootMode())
	}
	var b bytes.Buffer
	if err := tree.WriteTar(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = fmt.Sprintf("%c %o %d:%d %d %d,%d", h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.Devmajor, h.Devminor)
		for k, v := range h.PAXRecords {
			if strings.HasPrefix(k, xattrPrefix) {
				got[h.Name+" "+k] = v
			}
		}
	}
	want := map[string]string{
		"d/": "5 2750 7:70000 1234567890 0,0", "d/su": "0 4755 1:2 1234567890 0,0",
		"d/su SCHILY.xattr.security.capability": "\x01\x00\x00\x02", "d/su SCHILY.xattr.user.note": "hello",
		"null": "3 666 0:0 1234567890 1,3", "sda": "4 660 0:0 1234567890 8,300", "pipe": "6 600 0:0 1234567890 0,0",
		"old": "0 0 0:0 0 0,0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLimits(t *testing.T) {
	layer := entries(t, "a/b/c=12345", "d=678", "l->a/b", "l/e")
	for name, c := range map[string]struct {
		limits Limits
		ok     bool
	}{
		"all of it":    {Limits{Files: 6, Bytes: 1 << 20, Meta: 64, Lookup: 16}, true},
		"files":        {Limits{Files: 5}, false},
		"bytes":        {Limits{Bytes: 7}, false},
		"decompressed": {Limits{Bytes: 1024}, false},
		"meta":         {Limits{Meta: 10}, false},
		"lookup":       {Limits{Lookup: 3}, false},
	} {
		_, err := Merge(t.Context(), []Source{layer}, c.limits)
		if c.ok != (err == nil) || (!c.ok && !errors.Is(err, ErrLimit)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMergeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Merge(ctx, []Source{entries(t, "a=1")}, Limits{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What a guest needs is there in the end, and what was there is as it was.
func TestEnsure(t *testing.T) {
	tree, err := Merge(t.Context(), []Source{entries(t, "run->var/run", "etc/hosts=mine", "dev=file")}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"/dev", "/proc", "/run", "/a/b"} {
		tree.EnsureDir(d, 0o755)
	}
	for _, f := range []string{"/etc/hosts", "/etc/resolv.conf", "/a/c", "/dev/x"} {
		tree.EnsureFile(f, 0o644)
	}
	var b bytes.Buffer
	if err := tree.WriteTar(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	want := []string{"a/", "a/b/", "a/c", "dev=file", "etc/", "etc/hosts=mine", "etc/resolv.conf", "proc/", "run->var/run"}
	if d := cmp.Diff(want, list(t, &b)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A sparse file has few bytes in the archive and many in the tree.
func TestSparse(t *testing.T) {
	tree, err := Merge(t.Context(), []Source{archive(sparseArchive(t, 1<<40))}, Limits{Bytes: 1 << 41})
	if err != nil {
		t.Fatal(err)
	}
	if n := tree.root.children["s"]; n == nil || n.inode.size != 1<<40 {
		t.Errorf("the file is %+v", n)
	}
	if _, err := Merge(t.Context(), []Source{archive(sparseArchive(t, 1<<40))}, Limits{Bytes: 1 << 39}); !errors.Is(err, ErrLimit) {
		t.Errorf("a hole larger than allowed: %v", err)
	}
	got, err := flatten(t, archive(sparseArchive(t, 3000)))
	if want := "s=" + strings.Repeat("\x00", 2996) + "data"; err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// sparseArchive has a file in GNU's sparse format 1.0 that ends in "data".
func sparseArchive(t *testing.T, size int64) []byte {
	t.Helper()
	blocks := fmt.Sprintf("1\n%d\n4\n", size-4)
	body := blocks + strings.Repeat("\x00", 512-len(blocks)) + "data"
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/s", Size: int64(len(body)), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"comment": "placeholder for the records of a sparse file, which archive/tar does not write"},
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, body)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	record := func(k, v string) string {
		for n := len(k) + len(v) + 4; ; n++ {
			if s := fmt.Sprintf("%d %s=%s\n", n, k, v); len(s) == n {
				return s
			}
		}
	}
	records := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.name", "s") + record("GNU.sparse.realsize", fmt.Sprint(size))
	// The PAX header's size is the field at 124, and its checksum that at 148.
	clear(data[512:1024])
	copy(data[512:], records)
	copy(data[124:], fmt.Sprintf("%011o\x00", len(records)))
	copy(data[148:], "        ")
	var total int
	for _, c := range data[:512] {
		total += int(c)
	}
	copy(data[148:], fmt.Sprintf("%06o\x00 ", total))
	return data
}
