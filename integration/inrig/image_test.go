package inrig

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"splitvm/integration/rig/testimages"
)

// imageHost is a registry with the test images, and a store for what is fetched
// from it.
type imageHost struct {
	t        *testing.T
	registry string
	store    string
}

func newImageHost(t *testing.T) *imageHost {
	t.Helper()
	needRig(t)
	mount := t.TempDir()
	if err := unix.Mount("/dev/rig/"+testimages.Serial, mount, "squashfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mount, 0) })
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	h := &imageHost{t: t, registry: strings.TrimPrefix(srv.URL, "http://"), store: t.TempDir()}
	h.push(mount)
	modules, err := filepath.Glob("/kernels/6.12/lib/modules/*")
	if err != nil || len(modules) != 1 {
		t.Fatalf("modules: %v, %v", modules, err)
	}
	h.must("image", "kernel", "import", "/kernels/6.12/bzImage", "--modules", modules[0])
	return h
}

// push brings the images of a layout to the registry.
func (h *imageHost) push(dir string) {
	h.t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			h.t.Fatal(err)
		}
		ref, err := name.ParseReference(h.name(m.Annotations[testimages.NameAnnotation]))
		if err != nil {
			h.t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *imageHost) name(image string) string { return h.registry + "/" + image + ":test" }

// splitvm runs splitvm to its end.
func (h *imageHost) splitvm(args ...string) (stdout, stderr string, status int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*guestLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "splitvm", args...)
	cmd.Env = append(os.Environ(), "SPLITVM_IMAGES="+h.store)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(""), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		h.t.Fatalf("splitvm %v: %v\n%s%s", args, err, &out, &errs)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (h *imageHost) must(args ...string) string {
	h.t.Helper()
	out, errs, status := h.splitvm(args...)
	if status != 0 {
		h.t.Fatalf("splitvm %v: exit status %d\n%s%s", args, status, out, errs)
	}
	return out
}

// expect runs an image and compares all that comes back.
func (h *imageHost) expect(status int, stdout string, args ...string) {
	h.t.Helper()
	out, errs, got := h.splitvm(append([]string{"run", "--mem", "512M"}, args...)...)
	if got != status || out != stdout {
		h.t.Errorf("run %v: exit status %d, output %q (standard error %q); want %d and %q", args, got, out, errs, status, stdout)
	}
}

// TestImage fetches three images from a registry and runs their own commands,
// and others, as a container engine would.
func TestImage(t *testing.T) {
	h := newImageHost(t)
	for _, image := range []string{"busybox", "alpine", "debian"} {
		h.must("image", "pull", h.name(image))
	}
	if out := h.must("image", "ls"); strings.Count(out, ":test") != 3 {
		t.Errorf("the list is\n%s", out)
	}
	t.Run("busybox", func(t *testing.T) {
		h.expect(3, "busybox\n0\n/\n", h.name("busybox"))
		h.expect(0, "127.0.0.1\tlocalhost\nvn\nwritten\n", "--name", "vn", h.name("busybox"), "--", "sh", "-c",
			"head -n 1 /etc/hosts; hostname; echo written >/new && cat /new")
		h.expect(0, "ext4\n", "--root-size", "128M", h.name("busybox"), "--", "sh", "-c",
			"head -c 1000000 /dev/zero >/some && sync && grep -q SERIAL=splitvm-upper /proc/cmdline && echo ext4")
		h.expect(127, "", h.name("busybox"), "--", "nothing")
	})
	t.Run("alpine", func(t *testing.T) {
		who := "user app 1234:1235 groups 1235 1300\nin /srv/app with COLOR=green HOME=/home/app\n"
		h.expect(0, who+"the default\n", h.name("alpine"))
		h.expect(0, "user root 0:1300 groups 1300\nin /tmp with COLOR=red HOME=/root\nmine\n",
			"--user", "root:extra", "--workdir", "/tmp", "--env", "COLOR=red", h.name("alpine"), "--", "echo", "mine")
		h.expect(0, "2 2\nhidden\n1234:1235:600\n", "--entrypoint", "/bin/sh", "--user", "0", h.name("alpine"), "--", "-c",
			"echo $(stat -c %h /bin/busybox /bin/again); ls /usr/share/doc 2>/dev/null || echo hidden; stat -c %u:%g:%a /home/app/mine")
	})
	t.Run("debian", func(t *testing.T) {
		out := h.must("run", "--mem", "512M", h.name("debian"))
		if !strings.HasPrefix(out, "12.") {
			t.Errorf("its own command says %q", out)
		}
		h.expect(7, "README\n42\ndpkg 0:0\nnobody\n", "--user", "nobody", h.name("debian"), "--", "bash", "-c",
			"ls /usr/share/doc; perl -e 'print 6*7, qq(\n)'; echo dpkg $(stat -c %u:%g /usr/bin/dpkg); id -un; exit 7")
	})
	t.Run("read-only", func(t *testing.T) {
		h.expect(1, "no\ntmp\n", "--read-only", h.name("busybox"), "--", "sh", "-c",
			"touch /new 2>/dev/null || echo no; echo tmp >/tmp/x && cat /tmp/x; touch /etc/x 2>/dev/null")
	})
	t.Run("mounts", h.mounts)
	t.Run("in use", h.inUse)
}

// mounts has a guest write to a disk of its own, and the next one read it.
func (h *imageHost) mounts(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "data.ext4")
	if out, err := exec.Command("sh", "-c", "truncate -s 64M "+disk+" && mkfs.ext4 -q "+disk).CombinedOutput(); err != nil {
		t.Fatalf("make a disk: %v\n%s", err, out)
	}
	h.expect(0, "", "--disk", disk+",mount=/srv/data", h.name("busybox"), "--", "sh", "-c", "echo kept >/srv/data/file")
	h.expect(1, "kept\n", "--disk", disk+",ro,mount=/data", h.name("busybox"), "--", "sh", "-c", "cat /data/file; touch /data/no 2>/dev/null")
}

// inUse has an image removed while a guest runs on it, and after.
func (h *imageHost) inUse(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "splitvm", "run", "--mem", "512M", h.name("busybox"), "--", "sh", "-c", "echo up; cat; echo bye")
	cmd.Env = append(os.Environ(), "SPLITVM_IMAGES="+h.store)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("up\n"))); err != nil {
		t.Errorf("the guest did not come up: %v", err)
	}
	if _, errs, status := h.splitvm("image", "rm", h.name("busybox")); status == 0 || !strings.Contains(errs, "running") {
		t.Errorf("an image in use: exit status %d, %q", status, errs)
	}
	in.Close()
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || string(rest) != "bye\n" {
		t.Errorf("the guest went on to %q, %v", rest, err)
	}
	h.must("image", "rm", h.name("busybox"), h.name("alpine"), h.name("debian"))
	if left, _ := filepath.Glob(h.store + "/roots/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
