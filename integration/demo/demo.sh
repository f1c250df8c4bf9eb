# What `make run` shows of whole guests: a rack, a Linux vNode on it whose memory
# and disk are elsewhere, the same guest local, and what the difference costs.
# Its parts are named by variables: SPLITVM, KERNEL (a bzImage), MODULES, BUSYBOX
# and MKE2FS; MIB says how much memory the guests fill. It leaves nothing behind.
set -eu
work=$(mktemp -d /tmp/splitvm-demo.XXXXXX)
export SPLITVM_RUN_DIR="$work/run" SPLITVM_IMAGES="$work/images"
rack=
ending() {
	if test "$rack"; then "$SPLITVM" rack down >/dev/null 2>&1 || :; fi
	rm -rf "$work"
}
trap ending EXIT
trap 'exit 130' INT TERM HUP
mkdir "$work/run"

say() { printf '\n== %s\n' "$*"; }
show() { printf '$ splitvm %s\n' "$*"; "$SPLITVM" "$@"; }

say "a rack on this machine: a process for each monitor"
rack=up
show rack up --memory 1G --excache 256M
show monitor ls

say "an image of a folder with busybox, a kernel, and a volume for the data"
mkdir -p "$work/root/bin" "$work/root/etc"
cp "$BUSYBOX" "$work/root/bin/busybox"
for name in sh awk cat cut dd df head md5sum sleep uname; do ln -s busybox "$work/root/bin/$name"; done
# What the guests do: fill memory, a multiple of the ExCache, and read it back; then
# write 16 MiB of it to the disk, through fsync.
cat >"$work/root/bin/work" <<'W'
#!/bin/sh
now() { cut -d ' ' -f 1 /proc/uptime; }
past() { awk -v a="$1" -v b="$(now)" -v what="$2" 'BEGIN { printf "%-34s %6.1f s\n", what, b - a }'; }
echo "$(uname -sr), $(awk '/MemTotal/ { printf "%d MiB of memory", $2 / 1024 }' /proc/meminfo); /data: $(df -h /data | awk 'END { print $2 }')"
cd /dev/shm
awk 'BEGIN { for (i = 0; i < 43690; i++) printf "line %6d of the work\n", i; for (i = 0; i < 16; i++) printf "." }' >a # 1 MiB
t=$(now); while [ "${n:=0}" -lt "$1" ]; do n=$((n+16)); cat a a a a a a a a a a a a a a a a; done >x; past "$t" "$1 MiB of memory written"
t=$(now); sum=$(md5sum <x); past "$t" "read back"
t=$(now); dd if=x of=/data/x bs=1M count=16 conv=fsync 2>/dev/null; past "$t" "16 MiB of it on the disk, fsync"
test "$(head -c 16777216 x | md5sum)" = "$(md5sum </data/x)" || { echo "the disk has something else"; exit 1; }
echo "sum $sum"
W
chmod 755 "$work/root/bin/work"
show image import --quiet --name demo "$work/root" -- sleep 1000000
show image kernel import "$KERNEL" --modules "$MODULES"
show volume create --format ext4 data 128M

say "a vNode with 1 GiB of memory, of which this host keeps 128 MiB in its ExCache"
show run --global auto --detach --name demo --mem 1G --excache 128M --vregion 256M --volume data:/data demo
try=0
while test $((try += 1)) -le 36; do # until it is up
	"$SPLITVM" exec demo -- sleep 0 2>/dev/null && break
	sleep 5
done
show exec demo -- work "$MIB" | tee "$work/remote"
grep -q ^sum "$work/remote"

say "where its memory and its disk are, and why there"
show inspect demo
show vregion ls
show volume ls

say "what its memory cost: faults and who served them"
show stats demo
"$SPLITVM" stop demo >/dev/null
"$SPLITVM" rm demo >/dev/null

say "the same guest with memory and disk on this host"
truncate -s 128M "$work/data.ext4"
"$MKE2FS" -q -F -t ext4 "$work/data.ext4"
show run --local --mem 1G --disk "$work/data.ext4,mount=/data" demo -- work "$MIB" | tee "$work/local"
grep -q ^sum "$work/local"

say "remote beside local, with an ExCache of an eighth"
awk '/ s$/ { t = $(NF-1); what = $0; sub(/ +[0-9.]+ s$/, "", what) }
	/ s$/ && NR == FNR { remote[what] = t; next }
	/ s$/ { if (t > 0) printf "%-34s %6.1f s / %5.1f s = %.1f\n", what, remote[what], t, remote[what] / t }' "$work/remote" "$work/local"
test "$(grep ^sum "$work/remote")" = "$(grep ^sum "$work/local")"

say "the end"
show rack down
rack=
