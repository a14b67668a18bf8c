#!/usr/bin/env bash
# Runs each fuzz target of the workspace for a while; a finding fails the run and is left
# under the package's testdata/fuzz, to be committed with the repair.
#
#   fuzz.sh DURATION FOLDER...
set -euo pipefail

duration=$1
shift
found=0
while IFS=: read -r file target; do
  found=1
  echo "==> $target in $(dirname "$file") for $duration"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "./$(dirname "$file")"
done < <(grep -rEo --include='*_test.go' --exclude-dir=node_modules '^func Fuzz\w+' "$@" | sed 's/func //' | sort)
((found)) || echo "no fuzz targets in $*"
