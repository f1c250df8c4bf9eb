package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"splitvm/images/layer"
	"splitvm/images/store"
)

// tarOf makes an archive of files.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imageOf makes an image of layers.
func imageOf(t testing.TB, layers ...map[string]string) v1.Image {
	t.Helper()
	image := mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json")
	for _, files := range layers {
		data := tarOf(t, files)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, l); err != nil {
			t.Fatal(err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"id"}, Env: []string{"A=1"}, User: "daemon", WorkingDir: "/srv"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// serve starts a registry, with wrap before it, and gives its host and port.
func serve(t testing.TB, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func push(t testing.TB, image v1.Image, reference string) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		t.Skip("needs mksquashfs: apt-get install squashfs-tools")
	}
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cat reads a file of the image's root.
func cat(t testing.TB, s *store.Store, i store.Image, file string) string {
	t.Helper()
	out, err := exec.Command("unsquashfs", "-cat", s.RootPath(i), file).CombinedOutput()
	if err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, out)
	}
	return string(out)
}

// files lists what a store has in some of its folders.
func files(t testing.TB, s *store.Store, folders ...string) []string {
	t.Helper()
	var list []string
	for _, f := range folders {
		entries, err := os.ReadDir(filepath.Join(s.Dir(), f))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, f+"/"+e.Name())
		}
	}
	return list
}

func TestPull(t *testing.T) {
	s := openStore(t)
	host := serve(t, nil)
	push(t, imageOf(t, map[string]string{"etc/a": "lower", "etc/b": "b"}, map[string]string{"etc/a": "upper", "etc/.wh.b": ""}), host+"/some/image:v1")
	i, err := Pull(t.Context(), s, host+"/some/image:v1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := cat(t, s, i, "etc/a"); got != "upper" {
		t.Errorf("etc/a is %q", got)
	}
	found, err := s.Find(FullName(host + "/some/image:v1"))
	if err != nil {
		t.Fatal(err)
	}
	c := found.Config.Config
	if fmt.Sprintf("%v %v %v %v %v", c.Entrypoint, c.Cmd, c.Env, c.User, c.WorkingDir) != "[/bin/sh -c] [id] [A=1] daemon /srv" {
		t.Errorf("the configuration became %+v", c)
	}
	if left := files(t, s, "partial", "tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if again, err := Pull(t.Context(), s, host+"/some/image:v1", Options{}); err != nil || again.RootSHA != i.RootSHA {
		t.Errorf("again: %v, %v and %v", err, again.RootSHA, i.RootSHA)
	}
}

// broken is a registry that sends so many bytes of a blob and no more, as long as
// it is out of order.
type broken struct {
	http.Handler
	out    atomic.Bool
	after  int
	ranges atomic.Int32 // requests for a part
	sent   atomic.Int64 // bytes of blobs
}

type cutWriter struct {
	http.ResponseWriter
	b    *broken
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if w.b.out.Load() && len(p) > w.left {
		n, _ := w.ResponseWriter.Write(p[:w.left])
		w.b.sent.Add(int64(n))
		panic(http.ErrAbortHandler)
	}
	n, err := w.ResponseWriter.Write(p)
	w.b.sent.Add(int64(n))
	w.left -= n
	return n, err
}

func (b *broken) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
		b.Handler.ServeHTTP(w, r)
		return
	}
	if r.Header.Get("Range") != "" {
		b.ranges.Add(1)
	}
	b.Handler.ServeHTTP(&cutWriter{w, b, b.after}, r)
}

// noise does not compress.
func noise(t testing.TB, n int) string {
	t.Helper()
	f, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, n)
	if _, err := io.ReadFull(f, p); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// A pull goes on where the connection was cut, within one pull and in the next.
func TestPullResumes(t *testing.T) {
	s := openStore(t)
	b := &broken{after: 300 << 10}
	host := serve(t, func(h http.Handler) http.Handler { b.Handler = h; return b })
	push(t, imageOf(t, map[string]string{"big": noise(t, 1<<20)}), host+"/big")
	b.out.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	half := watch{at: 500 << 10, call: cancel}
	if _, err := Pull(ctx, s, host+"/big", Options{Progress: half}); !errors.Is(err, context.Canceled) {
		t.Fatalf("a pull that is interrupted: %v", err)
	}
	if left := files(t, s, "layers", "images", "names", "roots", "tmp"); len(left) > 0 {
		t.Errorf("an interrupted pull left %v", left)
	}
	if p := files(t, s, "partial"); len(p) != 1 || b.ranges.Load() == 0 {
		t.Errorf("%v is there of it, after %d requests for parts", p, b.ranges.Load())
	}
	b.out.Store(false)
	b.sent.Store(0)
	if _, err := Pull(t.Context(), s, host+"/big", Options{}); err != nil {
		t.Fatal(err)
	}
	if sent := b.sent.Load(); sent > 600<<10 {
		t.Errorf("%d bytes were fetched again", sent)
	}
}

// watch calls when so many bytes of a layer are there.
type watch struct {
	at   int64
	call func()
}

func (w watch) Layer(_ v1.Hash, done, _ int64) {
	if done >= w.at {
		w.call()
	}
}
func (watch) Step(string) {}

// What the registry sends is not what the manifest names: nothing of it stays.
func TestPullChecksDigests(t *testing.T) {
	s := openStore(t)
	spoil := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				h.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			if bytes.HasPrefix(body, []byte("\x1f\x8b")) { // not of the configuration
				body[len(body)/2] ^= 1
			}
			w.Write(body)
		})
	}
	host := serve(t, spoil)
	push(t, imageOf(t, map[string]string{"f": noise(t, 4096)}), host+"/spoilt")
	if _, err := Pull(t.Context(), s, host+"/spoilt", Options{}); !errors.Is(err, store.ErrDigest) {
		t.Errorf("%v; want %v", err, store.ErrDigest)
	}
	if left := files(t, s, "layers", "partial", "images", "names", "roots", "tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The configuration names other archives than the layers have in them.
func TestPullChecksDiffIDs(t *testing.T) {
	s := openStore(t)
	host := serve(t, nil)
	image := imageOf(t, map[string]string{"f": "1"})
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.RootFS.DiffIDs[0].Hex = strings.Repeat("ab", 32)
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	push(t, image, host+"/other")
	if _, err := Pull(t.Context(), s, host+"/other", Options{}); !errors.Is(err, store.ErrDigest) {
		t.Errorf("%v; want %v", err, store.ErrDigest)
	}
	if left := files(t, s, "layers", "partial", "images", "names", "roots"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A layer that has little in it and is much: it is not looked at to its end.
func TestPullBomb(t *testing.T) {
	s := openStore(t)
	host := serve(t, nil)
	push(t, imageOf(t, map[string]string{"zeroes": strings.Repeat("\x00", 8<<20)}), host+"/bomb")
	for _, limit := range []int64{1 << 20, 1000} { // of the archive, and of the compressed file
		if _, err := Pull(t.Context(), s, host+"/bomb", Options{Limits: layer.Limits{Bytes: limit}}); !errors.Is(err, layer.ErrLimit) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if left := files(t, s, "layers", "partial", "roots", "names"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPullAtOnce(t *testing.T) {
	s := openStore(t)
	b := &broken{}
	host := serve(t, func(h http.Handler) http.Handler { b.Handler = h; return b })
	image := imageOf(t, map[string]string{"a": noise(t, 1<<20)}, map[string]string{"b": noise(t, 1<<20)})
	push(t, image, host+"/same")
	errs := make(chan error)
	const pulls = 6
	for range pulls {
		other, err := store.Open(s.Dir()) // as another process has it
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := Pull(t.Context(), other, host+"/same", Options{})
			errs <- err
		}()
	}
	for range pulls {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if sent := b.sent.Load(); sent > 2200<<10 {
		t.Errorf("%d bytes were fetched by %d pulls of two layers of 1 MiB", sent, pulls)
	}
	if left := files(t, s, "partial", "tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPullExplains(t *testing.T) {
	s := openStore(t)
	host := serve(t, nil)
	if _, err := Pull(t.Context(), s, host+"/none", Options{}); err == nil || !strings.Contains(err.Error(), "no such image") {
		t.Errorf("an image that is not there: %v", err)
	}
	image := imageOf(t, map[string]string{"a": "1"})
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture = "arm64"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	push(t, image, host+"/arm")
	if _, err := Pull(t.Context(), s, host+"/arm", Options{}); err == nil || !strings.Contains(err.Error(), "linux/arm64") {
		t.Errorf("an image for another machine: %v", err)
	}
	if _, err := Pull(t.Context(), s, "Not A Name", Options{}); err == nil || !strings.Contains(err.Error(), "NAME") {
		t.Errorf("a bad name: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, short := range []string{"busybox:latest", "me/mine:v2", "example.org:5000/a/b:c", "127.0.0.1:5000/x:y"} {
		if got := Short(FullName(short)); got != short {
			t.Errorf("%s became %s", short, got)
		}
	}
	if got := FullName("sha256:0123"); got != "sha256:0123" && !strings.Contains(got, "sha256") {
		t.Errorf("an ID became %s", got)
	}
}
