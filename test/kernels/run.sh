#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Boots kernels in emulated machines and runs the tests on them that need one:
#   run.sh [SERIES[/ARCHITECTURE][+LOCKDOWN]...]    as 6.1, 6.12/arm64 or 6.12+confidentiality
# KMESH_TESTS=EXPRESSION runs only the tests of these names.
# Takes no root and no /dev/kvm. Consoles are kept as .tools/kernels/console-SERIES-ARCHITECTURE[+LOCKDOWN].log.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ $# -gt 0 ] || set -- 5.10 6.1 6.12 6.12+confidentiality

missing=()
while read -r tool package; do
	command -v "$tool" >/dev/null || missing+=("$package")
done <<-LIST
	busybox busybox-static
	cpio cpio
	ip iproute2
	nft nftables
LIST
for kernel; do
	case $kernel in
	*/arm64*) qemu=qemu-system-aarch64 package=qemu-system-arm ;;
	*) qemu=qemu-system-x86_64 package=qemu-system-x86 ;;
	esac
	[[ " ${missing[*]} " == *" $package "* ]] || command -v $qemu >/dev/null || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	echo "test-kernels: ${missing[*]} missing: apt-get install ${missing[*]}" >&2
	exit 1
fi
# The dynamic one of the package busybox would find no libraries.
if ldd "$(command -v busybox)" >/dev/null 2>&1; then
	echo "test-kernels: busybox is linked dynamically: apt-get install busybox-static" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# add_program PROGRAM puts it into the root file system, with the libraries that it needs.
add_program() {
	local file
	for file in "$(command -v "$1")" $(ldd "$(command -v "$1")" | grep -o '/[^ ]*'); do
		install -D "$(readlink -f "$file")" "$work/root$file"
	done
}

# pack KERNEL ARCHITECTURE PACKAGE... makes the archive that the kernel boots from.
pack() {
	local kernel=$1 architecture=$2
	shift 2
	rm -rf "$work/root"
	mkdir -p "$work"/root/{proc,sys,dev,tests,etc}
	if [ -e "$kernel/root" ]; then
		cp -a "$kernel"/root/* "$work/root"
	else
		mkdir -p "$work"/root/{bin,sbin}
		install "$(command -v busybox)" "$work/root/bin/busybox"
		add_program ip
		add_program ss
		add_program nft
	fi
	ln -sf /bin/busybox "$work/root/sbin/modprobe" # the kernel asks for it by this name
	install test/kernels/init "$work/root/init"
	cp -a "$kernel/lib/modules" "$work/root/lib/"
	local package
	for package; do
		CGO_ENABLED=0 GOARCH=$architecture go test -c -tags kernels -o "$work/root/tests/$(basename "$package").test" "./$package" || return 1
	done
	(cd "$work/root" && find . | cpio --quiet -o -H newc >"$work/initrd")
}

# The tests under lockdown: what they need beside the probe must not be locked too.
lockdown_tests='^Test(UnderLockdown|EachEndOf|AnOpenConnection|AFailedConnect|AConnectionOlder|AnOlderConnection|EachVariant|BothEnds|TheLock)'

# emulate ARCHITECTURE KERNEL LOCKDOWN has the machine run until it ends itself.
emulate() {
	local machine console=ttyS0 tests=${KMESH_TESTS:-^Test}
	[ -z "$3" ] || tests=${KMESH_TESTS:-$lockdown_tests}
	case $1 in
	amd64) machine='qemu-system-x86_64 -machine q35' ;;
	arm64) machine='qemu-system-aarch64 -machine virt' console=ttyAMA0 ;;
	esac
	# shellcheck disable=SC2086 # words
	timeout "${KMESH_KERNEL_TIMEOUT:-900}" nice -n 15 $machine \
		-accel tcg,thread=multi -cpu max -smp 2 -m 2G -nodefaults -no-reboot -display none -serial stdio \
		-kernel "$2/vmlinuz" -initrd "$work/initrd" \
		-append "console=$console quiet loglevel=3 panic=-1 mitigations=off ${3:+lockdown=$3} TESTS=$tests" </dev/null
}

# test_on SERIES ARCHITECTURE LOCKDOWN MINIMUM PACKAGE... fails unless so many tests passed, at least, and none failed.
test_on() {
	local series=$1 architecture=$2 lockdown=$3 minimum=$4 kernel start=$SECONDS
	local console=.tools/kernels/console-$series-$architecture${lockdown:+"+$lockdown"}.log
	shift 4
	printf '\n--- Linux %s, %s%s\n' "$series" "$architecture" "${lockdown:+", lockdown=$lockdown"}"
	kernel=$(test/kernels/fetch.sh "$series" "$architecture") || return 1
	pack "$kernel" "$architecture" "$@" || return 1
	emulate "$architecture" "$kernel" "$lockdown" >"$console" 2>&1 || echo "the machine did not end by itself"
	judge "$console" "$minimum" || { echo "Linux $series, $architecture: FAILED, see $console"; return 1; }
	echo "$((SECONDS - start)) s in all"
}

# judge CONSOLE MINIMUM reads what the machine said.
judge() {
	local text asked answered passed minimum=$2
	[ -z "${KMESH_TESTS:-}" ] || minimum=1
	text=$(tr -d '\r' <"$1")
	asked=$(grep -c '^=== at ' <<<"$text" || true)
	answered=$(grep -cE '^--- (PASS|SKIP|FAIL): ' <<<"$text" || true)
	passed=$(grep -c '^--- PASS: ' <<<"$text" || true)
	grep -E '^=== (kernel|done)|^ *--- SKIP: ' <<<"$text" || true
	# All of the tests that failed, and of the last one if the machine did not get past it.
	awk '/^=== (at|done)/ { if (failed) printf "%s", all; all = ""; failed = 0; done = /^=== done/ }
		{ all = all $0 "\n" } /^--- FAIL: |^=== failed/ { failed = 1 }
		END { if (!done) printf "%sthe machine did not come to its end\n", all; exit !done }' <<<"$text" || return 1
	echo "$passed of $asked tests passed, $(grep -c '^ *--- SKIP: ' <<<"$text" || true) skipped"
	if grep -qE '^ *--- FAIL: |^=== failed|^=== kernel says' <<<"$text" ||
		[ "$asked" != "$answered" ] || [ "$passed" -lt "$minimum" ]; then
		echo "none may fail, and at least $minimum must pass"
		return 1
	fi
}

failed=0
for kernel; do
	lockdown=
	[[ $kernel != *+* ]] || lockdown=${kernel#*+}
	kernel=${kernel%+*}
	series=${kernel%/*} architecture=amd64
	[ "$series" = "$kernel" ] || architecture=${kernel#*/}
	case $series+$lockdown in
	5.10+) test_on "$series" "$architecture" "" 1 test/kernels || failed=1 ;; # below the floor
	*+) test_on "$series" "$architecture" "" 60 test/{kernels,testhost} internal/{probe,identity/host} || failed=1 ;;
	*) test_on "$series" "$architecture" "$lockdown" 8 internal/probe || failed=1 ;;
	esac
done
exit $failed
