# What `make run` shows. The guest's parts are named by variables: SPLITVM,
# KERNEL, MODULES, BUSYBOX, MKE2FS. It leaves nothing behind.
set -eu
work=$(mktemp -d)
pids=
trap 'test -z "$pids" || kill $pids 2>/dev/null || :; wait; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export SPLITVM_RUN_DIR="$work"

say() { printf '\n== %s\n' "$*"; }

say "a disk image, built on the spot: busybox on ext4"
mkdir -p "$work/root/bin" "$work/root/proc" "$work/root/sys" "$work/root/dev" "$work/root/run" "$work/root/tmp"
cp "$BUSYBOX" "$work/root/bin/busybox"
for name in sh uname nproc free cat dd md5sum mount df sync; do ln -s busybox "$work/root/bin/$name"; done
"$MKE2FS" -q -F -t ext4 -d "$work/root" "$work/root.ext4" 32M
ls -lh "$work/root.ext4"

say "a vNode with 2 CPUs, its memory and disk on this host"
"$SPLITVM" run --local --kernel "$KERNEL" --modules "$MODULES" --disk "$work/root.ext4" --mem 512M --cpus 2 -- \
	/bin/sh -c 'echo "hello from $(uname -sr), $(nproc) CPUs"; free -m; df -h /; echo "this line was written by the first guest" > /note; sync'

say "the same disk in a vNode whose 512 MiB of memory are at two memory monitors, 96 MiB of them cached here"
for n in 1 2; do
	"$SPLITVM" monitor memory --listen "unix:$work/m$n.sock" --mem 1G 2>"$work/monitor$n.log" & pids="$pids $!"
done
for n in 1 2; do
	for try in 1 2 3 4 5 6 7 8 9 10; do test -S "$work/m$n.sock" && break; sleep 1; done
done
(
	# The guest's last line is answered with the vNode's own account of its memory.
	sleep 2
	while ! test -e "$work/finished"; do
		"$SPLITVM" stats demo >"$work/stats.new" 2>/dev/null && mv "$work/stats.new" "$work/stats"
		sleep 1
	done
) & pids="$pids $!"
"$SPLITVM" run --name demo --memory-monitor "unix:$work/m1.sock,unix:$work/m2.sock" --excache 96M \
	--kernel "$KERNEL" --modules "$MODULES" --disk "$work/root.ext4" --mem 512M --cpus 2 -- \
	/bin/sh -c 'cat /note; mount -t tmpfs -o size=300m none /tmp
		dd if=/dev/urandom of=/tmp/x bs=1M count=200 2>/dev/null; echo "200 MiB written, twice the cache; read twice:"; md5sum /tmp/x /tmp/x'
touch "$work/finished"

say "where its memory was, a moment before its end"
cat "$work/stats"
tail -n 3 "$work"/monitor?.log
