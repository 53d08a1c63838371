#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes what goreleaser needs to .release/: the distribution's sources with the release's version, the packaged chart,
# and notes.md, that version's section of the CHANGELOG. builder and helm must be in PATH.
#
# usage: prepare.sh VERSION     VERSION is 1.2.3, or what a snapshot is to be called
set -eu

version=${1#v}
cd "$(dirname "$0")/../.."
out=.release
rm -rf "$out"
mkdir "$out"

# section TITLE prints the lines below a title of the CHANGELOG, up to the next one.
section() {
	awk -v title="## [$1]" 'index($0, "## [") == 1 {on = index($0, title) == 1; next} on' CHANGELOG.md
}
# A pre-release, as 0.1.0-dev, has no section of its own.
title=$version
grep -qF "## [$version]" CHANGELOG.md || case $version in *-*) title=Unreleased ;; esac
section "$title" >"$out/notes.md"
grep -q . "$out/notes.md" || { echo "prepare.sh: CHANGELOG.md has nothing in a section [$title]" >&2; exit 1; }

# The replacement ../ is relative to the sources, so they lie as deep as dist/.
sed -e "s/^  version: .*/  version: $version/" -e "s|^  output_path: .*|  output_path: ./$out|" builder-config.yaml >"$out/builder-config.yaml"
builder --config "$out/builder-config.yaml" --skip-compilation

helm package deploy/helm/otelcol-kmesh --version "$version" --app-version "$version" --destination "$out"
