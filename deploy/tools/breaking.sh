#!/usr/bin/env bash
# Compares the protos of the tree with those of an earlier commit: what is published on the
# main branch or, on that very commit, the one before.
#
#   breaking.sh [COMMIT]
set -euo pipefail
cd "$(dirname "$0")/../.."

against=${1:-$(git rev-parse --quiet --verify origin/main || git rev-parse --quiet --verify main || true)}
if [[ -z ${1:-} && $against == "$(git rev-parse HEAD)" ]]; then
  against=$(git rev-parse --quiet --verify HEAD~1 || true)
fi
if [[ -z $against || -z $(git ls-tree -r --name-only "$against" -- proto/securly 2>/dev/null) ]]; then
  echo "no earlier commit with protos to compare with"
  exit 0
fi

# buf wants the whole workspace, of which the google/api module is not committed.
before=.cache/breaking
rm -rf "$before"
mkdir -p "$before/.cache"
git archive "$against" -- buf.yaml proto/securly | tar -x -C "$before"
cp -r .cache/googleapis "$before/.cache/"
.cache/tools/buf breaking --against "$before" || {
  echo "the protos break callers built from $(git log -1 --format='%h (%s)' "$against")" >&2
  exit 1
}
