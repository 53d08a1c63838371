#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs each fuzz target of the repository for a time, e.g. 60s: test/fuzz.sh TIME
set -euo pipefail
cd "$(dirname "$0")/.."

length=$1
git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file found; do
	target=${found#func }
	folder=$(dirname "$file")
	printf '\n=== %s in %s\n' "$target" "$folder"
	(cd "$folder" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$length" .)
done
