package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootIDFile is what Linux names its present life by.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// Host is a machine that loses power: a disk with a file system, a program on it,
// and a boot id, which is another one each time that it comes up.
type Host struct {
	dir   string
	fs    FileSystem
	cfg   Config
	image *Image
	disk  *Disk
	boots int
}

// NewHost makes a host, which is down, with an empty file system. dir, which is
// made if it is not there, is within what Alone returned, and the host's alone.
func NewHost(dir string, fs FileSystem, cfg Config) (*Host, error) {
	h := &Host{dir: dir, fs: fs, cfg: cfg, image: NewImage(fs.Size)}
	for _, name := range []string{h.served(), h.Data()} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return nil, err
		}
	}
	if err := h.rename(); err != nil {
		return nil, err
	}
	return h, h.format()
}

func (h *Host) bootID() string { return filepath.Join(h.dir, "boot_id") }
func (h *Host) served() string { return filepath.Join(h.dir, "served") }

// Data is where the host's program sees the file system.
func (h *Host) Data() string { return filepath.Join(h.dir, "data") }

// rename gives the host another boot id.
func (h *Host) rename() error {
	h.boots++
	return os.WriteFile(h.bootID(), fmt.Appendf(nil, "%08x-0000-4000-8000-000000000000\n", h.boots), 0o600)
}

// format makes the file system, all of it durable.
func (h *Host) format() error {
	d, err := New(h.served(), h.image, Config{})
	if err != nil {
		return err
	}
	err = h.fs.format(d.Path())
	d.cache.flush()
	return errors.Join(err, d.Close())
}

// Up makes the disk, as the last loss of power has left it, and returns it.
func (h *Host) Up() (*Disk, error) {
	var err error
	h.disk, err = New(h.served(), h.image, h.cfg)
	return h.disk, err
}

// On makes cmd, of which there may be one at a time, a program of the host: it is
// started in a mount namespace with the host's boot id and the file system at
// Data, which is unmounted when it has ended. The options are of mount.
func (h *Host) On(cmd *exec.Cmd, options string) error {
	sh, err := exec.LookPath("sh")
	if err != nil {
		return err
	}
	const script = `mount -n --bind "$1" "$2"; mount -n -t "$3" -o "loop,$4" "$5" "$6"; shift 6; exec "$@"`
	program := append([]string{cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.Args = sh, append([]string{"sh", "-ec", script, "sh", h.bootID(), bootIDFile, h.fs.Name, options, h.disk.Path(), h.Data()}, program...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Setpgid: true}
	return nil
}

// Kill sends SIGKILL to the program, which may still be about to be started.
func (h *Host) Kill(cmd *exec.Cmd) { unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }

// Cut cuts the power, if it was not cut, and decides what is left. What comes
// next: Kill, Discard, the program's end, Down.
func (h *Host) Cut(rng *rand.Rand) { h.image = h.disk.Cut(rng) }

// Discard lets those go that wait for the disk, which they can't be killed
// without.
func (h *Host) Discard() { h.disk.Discard() }

// Down takes the disk away that was discarded. The program has ended.
func (h *Host) Down() error { return errors.Join(h.disk.Close(), h.rename()) }
