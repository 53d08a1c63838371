#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the real servers of the end-to-end tests into .tools/: the programs that each module
# beside this script lists as tools.
#
# usage: build.sh [SERVER...]     SERVER is a folder here (default: all)
#
# A server whose go.mod, go.sum and Go did not change since its last build is skipped. Their libraries are large: cold, on
# 2 cores, Prometheus and Jaeger take about 4 minutes each, Loki 5, kube-apiserver, istiod and Kiali 3, and etcd less than one. A folder may hold a file `ldflags`, what its programs need from
# the linker.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/../../../.tools"
tools=$(cd "$here/../../../.tools" && pwd)
if [ $# = 0 ]; then
	cd "$here"
	for mod in */go.mod; do set -- "$@" "$(dirname "$mod")"; done
fi

# named gives a program's name: its package's, or its folder's here where the package is a module's own, as etcd's.
named() {
	case $1 in
	*/v[0-9] | */v[0-9][0-9]) echo "$server" ;;
	*) basename "$1" ;;
	esac
}

for server in "$@"; do
	cd "$here/$server"
	ldflags="-s -w $(cat ldflags 2>/dev/null || :)"
	want=$({ go env GOVERSION GOOS GOARCH; echo "$ldflags"; cat go.mod go.sum; } | sha256sum | cut -d' ' -f1)
	stamp=$tools/.$server.built

	packages=$(sed -n 's/^tool \([^(].*\)/\1/p; /^tool (/,/^)/s/^\t//p' go.mod)
	names=
	missing=
	for package in $packages; do
		name=$(named "$package")
		names="$names $name"
		# A stamp outlives a deleted program.
		[ -x "$tools/$name" ] || missing=yes
	done
	if [ -z "$missing" ] && [ "$(cat "$stamp" 2>/dev/null || :)" = "$want" ]; then
		echo "$server: current"
		continue
	fi

	echo "$server: building$names into .tools/, which takes minutes the first time"
	rm -f "$stamp"
	start=$(date +%s)
	for package in $packages; do
		go build -ldflags "$ldflags" -o "$tools/$(named "$package")" "$package"
	done
	echo "$want" >"$stamp"
	echo "$server: built in $(($(date +%s) - start)) s"
done
