#!/usr/bin/env bash
# Generates Go code, the OpenAPI document and the UI's API types from proto/securly.
#
#   generate.sh          writes them into the tree
#   generate.sh --check  fails when the tree differs from what would be written
#
# Everything is first made under .cache/generated, so a failed run changes nothing and
# files of deleted protos go away.
set -euo pipefail
cd "$(dirname "$0")/../.."

bin=.cache/tools
npm_bin=deploy/tools/node_modules/.bin
out=.cache/generated

# buf sees only the google/api files that our protos may use; the package has thousands.
google=deploy/tools/node_modules/google-proto-files/google/api
mkdir -p .cache/googleapis/google/api
for f in annotations client field_behavior http httpbody launch_stage resource; do
  cmp -s "$google/$f.proto" ".cache/googleapis/google/api/$f.proto" ||
    cp "$google/$f.proto" .cache/googleapis/google/api/
done

rm -rf "$out"
mkdir -p "$out/openapi" "$out/api"
"$bin/buf" generate --output "$out"
node deploy/tools/openapi.mjs "$out/swagger/securly-sync.swagger.json" proto/openapi/http.yaml "$out/openapi/openapi.json"
"$npm_bin/openapi-typescript" "$out/openapi/openapi.json" --output "$out/api/schema.d.ts" >/dev/null

# Generated file or folder, and its place in the tree.
results=(
  gen proto/gen
  openapi/openapi.json proto/openapi/openapi.json
  api/schema.d.ts gateway/web/src/api/schema.d.ts
)
for ((i = 0; i < ${#results[@]}; i += 2)); do
  new=$out/${results[i]} tree=${results[i + 1]}
  if [[ ${1:-} == --check ]]; then
    diff -rq "$new" "$tree" || {
      echo "$tree is not what the protos generate: run 'make generate' and commit the result" >&2
      exit 1
    }
  else
    mkdir -p "$(dirname "$tree")"
    rm -rf "$tree"
    cp -r "$new" "$tree"
  fi
done
