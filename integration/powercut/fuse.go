package powercut

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fileName is the one file of the file system.
const fileName = "disk"

// root is the directory.
type root struct {
	fs.Inode
	file *file
}

var _ fs.NodeOnAdder = (*root)(nil)

// OnAdd implements fs.NodeOnAdder.
func (r *root) OnAdd(ctx context.Context) {
	r.AddChild(fileName, r.NewPersistentInode(ctx, r.file, fs.StableAttr{Mode: unix.S_IFREG}), false)
}

// file is the disk as a file.
type file struct {
	fs.Inode
	cache *cache
	size  int64
}

var (
	_ fs.NodeGetattrer  = (*file)(nil)
	_ fs.NodeOpener     = (*file)(nil)
	_ fs.NodeReader     = (*file)(nil)
	_ fs.NodeWriter     = (*file)(nil)
	_ fs.NodeFsyncer    = (*file)(nil)
	_ fs.NodeAllocater  = (*file)(nil)
	_ fs.NodeGetxattrer = (*file)(nil)
)

// maxWrite bounds a request, in bytes.
const maxWrite = 1 << 20

// serve mounts the file system at dir. The mount is made here, and not by the
// library, which lets children inherit the descriptor: they would keep the
// connection when this process has died.
func serve(dir string, c *cache, size int64) (*fuse.Server, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d", fd, unix.S_IFDIR, maxWrite)
	if err := unix.Mount("powercut", dir, "fuse.powercut", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	server, err := fs.Mount(fmt.Sprintf("/dev/fd/%d", fd), &root{file: &file{cache: c, size: size}}, &fs.Options{MountOptions: fuse.MountOptions{MaxWrite: maxWrite}})
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH))
	}
	return server, nil
}

// Getattr implements fs.NodeGetattrer.
func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blksize = unix.S_IFREG|0o600, uint64(f.size), 4096
	return 0
}

// Getxattr implements fs.NodeGetxattrer: before writes the kernel asks for some.
func (f *file) Getxattr(context.Context, string, []byte) (uint32, syscall.Errno) {
	return 0, syscall.ENOSYS
}

// Open implements fs.NodeOpener. The kernel keeps nothing of the file itself.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// Read implements fs.NodeReader.
func (f *file) Read(_ context.Context, _ fs.FileHandle, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	p = p[:max(0, min(int64(len(p)), f.size-off))]
	f.cache.read(p, off)
	return fuse.ReadResultData(p), 0
}

// Write implements fs.NodeWriter.
func (f *file) Write(_ context.Context, _ fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	if off+int64(len(p)) > f.size {
		return 0, syscall.ENOSPC
	}
	f.cache.write(p, off)
	return uint32(len(p)), 0
}

// Fsync implements fs.NodeFsyncer: a flush of the disk.
func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.cache.flush()
	return 0
}

// Allocate implements fs.NodeAllocater for discards and writes of zeroes.
func (f *file) Allocate(_ context.Context, _ fs.FileHandle, off, n uint64, mode uint32) syscall.Errno {
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) == 0 {
		return syscall.EOPNOTSUPP
	}
	if off+n > uint64(f.size) {
		return syscall.ENOSPC
	}
	f.cache.discard(int64(off), int64(n))
	return 0
}
