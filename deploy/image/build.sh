#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the image without Docker and without a registry: buildah puts the binary of `make build` on an
# empty image, and writes an OCI archive. The same binary gives the same digest. A node that imports the archive
# has the image by the name that Kubernetes makes of the chart's default.
#
# usage: build.sh ARCHIVE [ARCH]     ARCH is amd64 or arm64 (default: this machine's)
#
# Prints the digest of the image's manifest.
set -eu

archive=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
arch=${2:-$(go env GOARCH)}
cd "$root"

[ -x dist/otelcol-kmesh ] || { echo "build.sh: dist/otelcol-kmesh is missing: run make build" >&2; exit 1; }
[ -e /etc/ssl/certs/ca-certificates.crt ] || { echo "build.sh: apt-get install ca-certificates" >&2; exit 1; }
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
version=$(sed -n 's/^  version: //p' builder-config.yaml)
context=$temporary/context
mkdir "$context"
mkdir "$context/.image"
if [ "$arch" = "$(go env GOARCH)" ]; then
	cp dist/otelcol-kmesh "$context/.image/"
else
	# OCB's sources are in dist/.
	(cd dist && CGO_ENABLED=0 GOARCH=$arch go build -trimpath -ldflags='-s -w' -o "$context/.image/otelcol-kmesh" .)
fi
cp /etc/ssl/certs/ca-certificates.crt "$context/.image/"
chmod 0755 "$context/.image/otelcol-kmesh"
chmod 0644 "$context/.image/ca-certificates.crt"

rm -f "$archive"
# chroot: nothing is run in a container here, and buildah wants no other runtime. Nothing stays in its storage.
buildah --root "$temporary/storage" --runroot "$temporary/run" --storage-driver vfs \
	build --quiet --isolation chroot --timestamp 0 --arch "$arch" --format oci --build-arg BINARY=prebuilt \
	--file deploy/image/Dockerfile --tag "oci-archive:$archive:docker.io/library/otelcol-kmesh:$version" "$context" >&2
digest=$(tar -xOf "$archive" index.json | sed 's/.*"digest":"\(sha256:[0-9a-f]*\)".*/\1/')
echo "$digest"
