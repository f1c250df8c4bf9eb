package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Archive is a tar archive of which a squashfs is made.
type Archive struct {
	// Write writes the archive, in which each path is there once, and directories come before
	// what is in them. It is called once.
	Write func(ctx context.Context, w io.Writer) error
	Mode  int64 // of the root itself, as in st_mode
	// Newest is the latest time of a file in the archive, and becomes the image's own.
	Newest time.Time
	// Processors is how many compress at a time; 0 is all.
	Processors int
}

// MakeFromTar makes a squashfs of an archive in the file out, which is replaced
// if it is there. Nothing is unpacked on the way and no rights are needed: owners,
// device nodes, extended attributes and hard links go from the one format into the other.
// The same archive makes the same bytes.
func MakeFromTar(ctx context.Context, out string, a Archive) error {
	if err := buildFromTar(ctx, out, a); err != nil {
		return fmt.Errorf("make the squashfs image %s: %w", out, err)
	}
	return nil
}

func buildFromTar(ctx context.Context, out string, a Archive) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(out), ".rootfs.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	image := filepath.Join(work, "image")
	if err := pipe(ctx, a, squashfsArgs(image, a)); err != nil {
		return err
	}
	if err := syncFile(image); err != nil {
		return err
	}
	return os.Rename(image, out)
}

// squashfsArgs has zstd at a low level: guests decompress it faster than gzip, and
// the image is written once for each change of an image.
func squashfsArgs(image string, a Archive) []string {
	args := []string{"-", image, "-tar", "-noappend", "-no-progress", "-quiet", "-exit-on-error",
		"-comp", "zstd", "-Xcompression-level", "6", "-root-mode", strconv.FormatInt(a.Mode, 8)}
	if a.Processors > 0 {
		args = append(args, "-processors", strconv.Itoa(a.Processors))
	}
	return args
}

// pipe runs mksquashfs with the archive as its input.
func pipe(ctx context.Context, a Archive, args []string) error {
	path, err := find("mksquashfs")
	if err != nil {
		return fmt.Errorf("mksquashfs is %w: apt-get install squashfs-tools", ErrNoTool)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var said bytes.Buffer
	cmd, in, err := startSquashfs(ctx, path, args, a, &said, os.Getuid() != 0)
	if err != nil {
		return fmt.Errorf("mksquashfs: %w", err)
	}
	// Its input is closed only when all of it was written: half an archive would
	// make half an image.
	werr := a.Write(ctx, in)
	if errors.Is(werr, syscall.EPIPE) {
		// It stopped reading first: at the archive's end mark, with nothing but
		// padding left, or because it gave up, which its status says.
		werr = nil
	}
	if werr != nil {
		cancel()
	}
	if cerr := in.Close(); werr == nil {
		werr = cerr
	}
	err = cmd.Wait()
	switch {
	case err != nil && werr == nil:
		return fmt.Errorf("mksquashfs (version 4.5 or later is needed): %w: %s", err, strings.TrimSpace(said.String()))
	case werr != nil:
		return werr
	}
	return nil
}

// startSquashfs starts mksquashfs, which takes time and owner of the root itself from
// the clock and its own user, whatever -root-time and -root-uid say (4.5.1): it gets
// another clock and, where the kernel lets users have one, a user namespace in which it is the
// superuser.
func startSquashfs(ctx context.Context, path string, args []string, a Archive, said io.Writer, asRoot bool) (*exec.Cmd, io.WriteCloser, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", max(0, a.Newest.Unix())))
	if asRoot {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	err = cmd.Start()
	if err != nil && asRoot {
		return startSquashfs(ctx, path, args, a, said, false)
	}
	return cmd, in, err
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
