// Package cmdline is the contract by which the host tells the init of a guest
// (guest/init) what to do: words on the kernel's command line. Both sides
// import it: the host makes the words from a Config, the guest parses them back
// to one. It is pure.
//
// # Words
//
//	root=DEV             the root file system: /dev/vda, LABEL=x, UUID=x or
//	                     SERIAL=x (the virtio-blk serial number). Without it, or
//	                     with root=none, the command runs in the initramfs.
//	rootfstype=ext4      instead of the type that the superblock tells
//	rootflags=a,b        mount options of the file system
//	ro, rw               mount it so; rw unless told, read-only where the disk is.
//	                     A root that can't be written gets a tmpfs on /tmp.
//	rootwait=SECONDS     how long to wait for it to appear (30)
//	splitvm.overlay=tmpfs[:SIZE]
//	                     writes go to a tmpfs laid over the root, and are lost at
//	                     the end; SIZE is tmpfs's, 50% unless given
//	splitvm.overlay=DEV  writes go to the file system of a disk, DEV as of root=
//	splitvm.mount=DEV,PATH[,type=T][,ro]
//	                     a further file system, DEV as of root=; may be given several
//	                     times
//	ip=CLIENT:[SERVER]:[GW]:[NETMASK]:[HOSTNAME]:[DEVICE]:[off|none|static]:[DNS0]:[DNS1]
//	                     Linux's own syntax (Documentation/admin-guide/nfs/nfsroot.rst)
//	splitvm.ip=DEVICE,ADDR/LEN[,ADDR/LEN...][,gw=ADDR...][,dns=ADDR...][,mtu=N]
//	                     the same for IPv4 and IPv6; DEVICE is a name or a MAC.
//	                     Both may be given several times. There is no DHCP.
//	splitvm.hostname=NAME
//	splitvm.cmd=BASE64   the Command: base64url (no padding) of its JSON
//	init=PATH            without a Command: the program of the root to become
//	                     process 1 (/sbin/init); words after "--" are its arguments
//	splitvm.debug        init tells each step in the kernel log, and on the console
//
// Other words are the kernel's or somebody else's, and are left alone. The last
// of several wins, as in the kernel, except for ip=, splitvm.ip= and
// splitvm.mount=.
//
// The kernel cuts a command line off at 2048 bytes on x86, so a longer Command
// goes into the initramfs instead, as its JSON in the file CommandFile.
package cmdline

import "time"

// Limits of the contract.
const (
	MaxLength       = 2047           // bytes of a kernel command line on x86 (COMMAND_LINE_SIZE less its NUL)
	CommandFile     = "/splitvm.cmd" // in the initramfs: the Command's JSON, if it is not on the command line
	MaxCommandBytes = 1 << 20        // of that JSON
	DefaultInit     = "/sbin/init"   // process 1 of a root that is booted without a Command
	DefaultRootWait = 30 * time.Second
	overlayTmpfs    = "tmpfs" // the kind of overlay that is no device
)
