package rawfile_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/rawfile"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

const diskSize = 4 << 20

// image makes a disk image of random bytes.
func image(t testing.TB) (path string, content []byte) {
	t.Helper()
	content = make([]byte, diskSize)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(content)
	path = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

func open(t testing.TB, c rawfile.Config) *rawfile.Disk {
	t.Helper()
	d, err := rawfile.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// disk is a guest with a disk.
type disk struct {
	*virtiotest.Machine
	t testing.TB
}

func start(t testing.TB, c rawfile.Config) disk {
	t.Helper()
	return startOn(t, open(t, c))
}

func startOn(t testing.TB, backend *rawfile.Disk) disk {
	t.Helper()
	return startWithout(t, backend, 0)
}

func startWithout(t testing.TB, backend *rawfile.Disk, features virtio.Features) disk {
	t.Helper()
	dev, err := block.New(block.Config{Backend: backend, Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	return disk{virtiotest.Start(t, dev, virtiotest.Options{EventIdx: true, Indirect: true}, features), t}
}

// Request types and outcomes (virtio 1.2, 5.2.6).
const (
	in          = 0
	out         = 1
	flush       = 4
	discard     = 11
	writeZeroes = 13

	ok     = 0
	ioErr  = 1
	unsupp = 2
)

// request is a header and what follows it.
func request(kind uint32, sector uint64, payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, sector)
	return append(b, payload...)
}

func segment(sector, sectors uint64, flags uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint32(b, uint32(sectors))
	return binary.LittleEndian.AppendUint32(b, flags)
}

func (d disk) read(sector uint64, n int) (data []byte, status byte) {
	d.t.Helper()
	b := d.Queues[0].Do(request(in, sector, nil), n+1)
	return b[:n], b[n]
}

func (d disk) send(kind uint32, sector uint64, payload []byte) (status byte) {
	d.t.Helper()
	return d.Queues[1].Do(request(kind, sector, payload), 1)[0]
}

func (d disk) must(what string, got, want byte) {
	d.t.Helper()
	if got != want {
		d.t.Fatalf("%s: status %d, want %d", what, got, want)
	}
}

// modes runs a test with each cache mode that the file system has.
func modes(t *testing.T, test func(t *testing.T, c rawfile.Config)) {
	t.Run("writeback", func(t *testing.T) { test(t, rawfile.Config{}) })
	t.Run("direct", func(t *testing.T) {
		f, err := os.OpenFile(filepath.Join(t.TempDir(), "probe"), os.O_CREATE|os.O_RDWR|syscall.O_DIRECT, 0o600)
		if err != nil {
			t.Skipf("no O_DIRECT in %s (%v): set TMPDIR to a folder on ext4 or xfs", os.TempDir(), err)
		}
		f.Close()
		test(t, rawfile.Config{Direct: true})
	})
}

// TestRandomRequests compares with a model in memory, at sizes and offsets of
// single sectors and buffers at odd addresses.
func TestRandomRequests(t *testing.T) {
	modes(t, func(t *testing.T, c rawfile.Config) {
		for name, prepare := range map[string]func(*rawfile.Disk){
			"as it is":     func(*rawfile.Disk) {},
			"no fallocate": (*rawfile.Disk).AsIfNoFallocate,
			"no io_uring":  (*rawfile.Disk).AsIfNoRing,
			"4 KiB blocks": func(d *rawfile.Disk) {
				if c.Direct {
					d.AsIfAligned(4096)
					d.AsIfNoFallocate()
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				path, model := image(t)
				c.Path = path
				backend := open(t, c)
				prepare(backend)
				randomRequests(t, startOn(t, backend), model)
				now, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(now, model) {
					t.Fatalf("the file is not what was written (%v)", err)
				}
			})
		}
	})
}

func randomRequests(t *testing.T, d disk, model []byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	buffer := d.Alloc(2 << 20)
	for i := range 200 {
		n := uint64(1+random.IntN(40)) * 512
		if i%50 == 0 {
			n = 3 << 19 // more than a bounce buffer
		}
		sector := random.Uint64N((diskSize - n) / 512)
		at := buffer + layout.GPA(random.IntN(3)*random.IntN(5000))
		d.checkOne(i, random, model[sector*512:][:n], sector, at)
	}
	d.must("flush", d.send(flush, 0, nil), ok)
}

// checkOne does one request on the part of the disk that should be want.
func (d disk) checkOne(i int, random *rand.Rand, want []byte, sector uint64, at layout.GPA) {
	d.t.Helper()
	n := uint32(len(want))
	cut := uint32(random.IntN(int(n))) &^ 3 // two buffers
	spans := []virtq.Span{{GPA: at, Len: cut}, {GPA: at + layout.GPA(cut) + 4096, Len: n - cut}}
	if cut == 0 {
		spans = spans[1:]
	}
	switch random.IntN(4) {
	case 0:
		zero := random.IntN(2)
		d.must("zero", d.send(writeZeroes, 0, segment(sector, uint64(n)/512, uint32(zero))), ok)
		clear(want)
	case 1:
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		d.scatter(spans, want)
		d.must("write", d.raw(out, sector, spans, nil), ok)
	default:
		d.must("read", d.raw(in, sector, nil, spans), ok)
		if got := d.gather(spans); !bytes.Equal(got, want) {
			d.t.Fatalf("request %d: %d bytes from sector %d into %v differ", i, n, sector, spans)
		}
	}
}

// TestWritethrough: a driver that knows no flush.
func TestWritethrough(t *testing.T) {
	const flushAndWCE = virtio.Features(1<<9 | 1<<11)
	modes(t, func(t *testing.T, c rawfile.Config) {
		path, model := image(t)
		c.Path = path
		randomRequests(t, startWithout(t, open(t, c), flushAndWCE), model)
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, model) {
			t.Fatalf("the file is not what was written (%v)", err)
		}
	})
}

// raw is a request with buffers where the test wants them.
func (d disk) raw(kind uint32, sector uint64, readable, writable []virtq.Span) (status byte) {
	d.t.Helper()
	header := layout.GPA(0x1000000)
	if err := d.Memory.WriteAt(request(kind, sector, nil), header); err != nil {
		d.t.Fatal(err)
	}
	q := d.Queues[0]
	if _, ok := q.Add(append([]virtq.Span{{GPA: header, Len: 16}}, readable...), append(writable, virtq.Span{GPA: header + 16, Len: 1})); !ok {
		d.t.Fatal("ring is full")
	}
	q.Kick()
	q.Wait()
	status, err := d.Memory.Load8(header + 16)
	if err != nil {
		d.t.Fatal(err)
	}
	return status
}

func (d disk) scatter(spans []virtq.Span, p []byte) {
	for _, s := range spans {
		if err := d.Memory.WriteAt(p[:s.Len], s.GPA); err != nil {
			d.t.Fatal(err)
		}
		p = p[s.Len:]
	}
}

func (d disk) gather(spans []virtq.Span) (p []byte) {
	for _, s := range spans {
		b := make([]byte, s.Len)
		if err := d.Memory.ReadAt(b, s.GPA); err != nil {
			d.t.Fatal(err)
		}
		p = append(p, b...)
	}
	return p
}

// TestTruncatedFile: what the file lost is an error, never a signal.
func TestTruncatedFile(t *testing.T) {
	modes(t, func(t *testing.T, c rawfile.Config) {
		path, content := image(t)
		c.Path = path
		d := start(t, c)
		if err := os.Truncate(path, 1<<20); err != nil {
			t.Fatal(err)
		}
		if got, status := d.read(0, 4096); status != ok || !bytes.Equal(got, content[:4096]) {
			t.Errorf("what is left: status %d", status)
		}
		for _, sector := range []uint64{2048, 2047, 8000} {
			if _, status := d.read(sector, 4096); status != ioErr {
				t.Errorf("sector %d of the lost part: status %d, want %d", sector, status, ioErr)
			}
		}
	})
}

func TestDiscardFreesSpace(t *testing.T) {
	path, _ := image(t)
	d := start(t, rawfile.Config{Path: path})
	d.must("flush", d.send(flush, 0, nil), ok)
	before := blocks(t, path)
	d.must("discard", d.send(discard, 0, segment(0, 2<<20/512, 0)), ok)
	if after := blocks(t, path); after > before-(1<<20)/512 {
		t.Errorf("%d blocks before the discard of 2 MiB, %d after", before, after)
	}
	if got, status := d.read(0, 4096); status != ok || !bytes.Equal(got, make([]byte, 4096)) {
		t.Error("a discarded block doesn't read as zeroes")
	}
	// Zeroes that may not be unmapped keep their space.
	before = blocks(t, path)
	d.must("write zeroes", d.send(writeZeroes, 0, segment(3<<20/512, 1<<20/512, 0)), ok)
	if after := blocks(t, path); after < before {
		t.Errorf("write zeroes without UNMAP freed space: %d blocks before, %d after", before, after)
	}
	d.must("write zeroes", d.send(writeZeroes, 0, segment(3<<20/512, 1<<20/512, 1)), ok)
	if after := blocks(t, path); after > before-(1<<19)/512 {
		t.Errorf("write zeroes with UNMAP: %d blocks before, %d after", before, after)
	}
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

func TestOneWriter(t *testing.T) {
	path, _ := image(t)
	first := open(t, rawfile.Config{Path: path})
	for _, readOnly := range []bool{false, true} {
		_, err := rawfile.Open(rawfile.Config{Path: path, ReadOnly: readOnly})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d ", os.Getpid())) || !strings.Contains(err.Error(), path) {
			t.Errorf("read-only %t beside a writer: %v; want an error that names us and the file", readOnly, err)
		}
	}
	first.Close()
	open(t, rawfile.Config{Path: path, ReadOnly: true})
	open(t, rawfile.Config{Path: path, ReadOnly: true})
	if _, err := rawfile.Open(rawfile.Config{Path: path}); err == nil {
		t.Error("a writer was let in beside readers")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, says string }{
		"missing":   {filepath.Join(dir, "missing"), "no such file"},
		"directory": {dir, "directory"},
		"empty":     {empty, "truncate"},
		"fifo":      {fifo, "regular file"},
		"character": {"/dev/null", "regular file"},
	} {
		_, err := rawfile.Open(rawfile.Config{Path: c.path})
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Count(err.Error(), c.path) != 1 {
			t.Errorf("%s: %v; want the file once and %q", name, err, c.says)
		}
	}
}

func TestReadOnly(t *testing.T) {
	path, content := image(t)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	d := start(t, rawfile.Config{Path: path, ReadOnly: true})
	if got, status := d.read(8, 512); status != ok || !bytes.Equal(got, content[4096:4608]) {
		t.Errorf("read: status %d", status)
	}
	d.must("write", d.send(out, 0, make([]byte, 512)), ioErr)
	d.must("discard", d.send(discard, 0, segment(0, 8, 0)), ioErr)
	d.must("flush", d.send(flush, 0, nil), ok)
}

// TestFullFileSystem needs a file system of its own.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mount a tmpfs: %v: run as root, with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, make([]byte, 4096), fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	d := start(t, rawfile.Config{Path: path})
	d.must("write that fits", d.send(out, 0, make([]byte, 128<<10)), ok)
	d.must("write that doesn't", d.send(out, 512, make([]byte, 256<<10)), ioErr)
	d.must("zeroes that can't be allocated", d.send(writeZeroes, 0, segment(0, 1<<20/512, 0)), ioErr)
	d.must("discard", d.send(discard, 0, segment(0, 1<<20/512, 0)), ok)
	d.must("write again", d.send(out, 512, make([]byte, 128<<10)), ok)
}
