#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a Debian and an RPM package, of the binary of `make build` or of another one.
#
# usage: build.sh [FOLDER [BINARY ARCH VERSION]]     FOLDER receives the packages (default: dist)
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(realpath "${1:-$root/dist}")
cd "$root"
BINARY=${2:-dist/otelcol-kmesh}
ARCH=${3:-$(go env GOARCH)}
VERSION=${4:-$(sed -n 's/^  version: //p' builder-config.yaml)}
[ -x "$BINARY" ] || { echo "build.sh: $BINARY is missing: run make build" >&2; exit 1; }
export BINARY ARCH VERSION
for format in deb rpm; do
	.tools/nfpm package --config deploy/package/nfpm.yaml --packager "$format" --target "$out"
done
