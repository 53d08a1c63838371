#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a Debian and an RPM package of the binary of `make build`.
#
# usage: build.sh [FOLDER]     FOLDER receives the packages (default: dist)
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(realpath "${1:-$root/dist}")
cd "$root"
[ -x dist/otelcol-kmesh ] || { echo "build.sh: dist/otelcol-kmesh is missing: run make build" >&2; exit 1; }
VERSION=$(sed -n 's/^  version: //p' builder-config.yaml)
ARCH=$(go env GOARCH)
export VERSION ARCH
for format in deb rpm; do
	.tools/nfpm package --config deploy/package/nfpm.yaml --packager "$format" --target "$out"
done
