#!/bin/busybox sh
# The init of the rig's L1 machine: brings up what tests need and hands over to
# the agent, which the host talks to. When that ends, so does the machine.
# The console is for the kernel and for this script's complaints only.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /var/log /img /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp TERM="${TERM:-linux}"
fail() { echo "rig: $*"; poweroff -f; }

mkdir -p /dev/shm /dev/pts /dev/net
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing

for m in /mods/*.ko; do insmod "$m" || echo "rig: insmod $m failed"; done

disk() { # the device of the virtio-blk disk with serial number $1
	for d in /sys/block/vd*; do
		[ "$(cat "$d/serial" 2>/dev/null)" != "$1" ] || { echo "/dev/${d##*/}"; return; }
	done
}
mkdir -p /dev/rig
for d in /sys/block/vd*; do
	s=$(cat "$d/serial" 2>/dev/null); [ -z "$s" ] || ln -s "../${d##*/}" "/dev/rig/$s"
done

# Programs with their libraries, kernels, guest images: where a distribution has them.
mount -t squashfs -o ro "$(disk rig-image)" /img || fail "no image disk"
for l in usr lib lib64 sbin kernels images; do ln -s "img/$l" "/$l"; done

s=$(disk rig-scratch)
[ -z "$s" ] || { mkdir -p /scratch && mount -t ext4 -o noatime "$s" /scratch; } || fail "no scratch disk"

mkdir -p /etc
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
echo 127.0.0.1 localhost rig >/etc/hosts
ifconfig lo 127.0.0.1 up
hostname rig
echo 1 >/proc/sys/vm/unprivileged_userfaultfd
echo core >/proc/sys/kernel/core_pattern
/rig/agent
fail "the agent ended with status $?"
