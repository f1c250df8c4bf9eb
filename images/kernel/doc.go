// Package kernel takes a Linux kernel and its modules out of what distributions
// ship: a Debian package, a /boot with the /lib/modules beside it, or a bare file. It lays them
// out as guests are given them:
//
//	vmlinuz               the kernel, bzImage or ELF
//	lib/modules/RELEASE/  its modules, with modules.builtin
//
// Packages are not trusted: what is unpacked stays in the folder that it is
// unpacked to (os.Root), is of a bounded size, and is nothing but files.
package kernel
