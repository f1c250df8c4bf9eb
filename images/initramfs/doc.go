// Package initramfs builds the archive that a Linux guest's kernel unpacks as
// its first root: splitvm's init (guest/init), and out of a kernel package the
// modules which the guest needs before it has a disk, with the files by which
// init finds them (modules.dep, modules.alias). Debian's packages come without
// those files; what depmod would write is read out of the modules themselves.
//
// The archive is in the newc format (Documentation/driver-api/early-userspace/
// buffer-format.rst), uncompressed, with uncompressed modules: a guest's kernel
// takes longer to decompress than to copy. It depends on nothing but its
// inputs' contents: no times, owners or inode numbers of the host get in.
//
// An archive may be followed by another (Overlay), whose files are laid over the
// first's: what changes from run to run goes there, and the first can be kept.
//
// The cpio writer is cavaliergopher's: the shape of archive/tar and no
// dependencies. It has no device nodes, which nobody needs: the kernel's own
// built-in archive has /dev/console, and init mounts a devtmpfs.
package initramfs
