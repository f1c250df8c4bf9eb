# What `make run` shows where Linux guests need the rig: a rack on the machine's
# own KVM and a bare guest on it, which runs at native speed. SPLITVM names the
# program. It leaves nothing behind.
set -eu
work=$(mktemp -d /tmp/splitvm-demo.XXXXXX)
export SPLITVM_RUN_DIR="$work/run"
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
timed() { # FILE COMMAND...: the seconds that it takes go to FILE
	file=$1 began=$(date +%s.%N); shift
	"$@"
	echo "$began $(date +%s.%N)" | awk '{ printf "%.1f s\n", $2 - $1 }' >"$work/$file"
}

say "on this machine's own KVM: a rack, and a program that checks each word of 512 MiB of memory"
rack=up
show rack up --memory 1G --excache 256M
timed remote show run --global auto --name bare --bare verify,accesses=200000 --mem 512M --vregion 128M --excache 64M &
vnode=$!
until "$SPLITVM" vregion ls bare 2>/dev/null | grep -q vr- || ! kill -0 "$vnode" 2>/dev/null; do sleep 0.2; done
show vregion ls bare
wait "$vnode"
timed local show run --local --bare verify,accesses=200000 --mem 512M
echo "behind an ExCache of an eighth $(cat "$work/remote"), with all memory on this host $(cat "$work/local")"
show rack down
rack=
