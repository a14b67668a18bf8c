#!/usr/bin/env bash
# Runs one step of a make target and says what it is and how long it took.
#
#   step.sh "what it does" COMMAND [ARGUMENT...]
set -euo pipefail

name=$1
shift
printf '==> %s\n' "$name"
start=$SECONDS
status=0
"$@" || status=$?
if ((status == 0)); then
  printf '    %s: %ds\n' "$name" $((SECONDS - start))
else
  printf '    %s: FAILED after %ds\n' "$name" $((SECONDS - start)) >&2
fi
exit "$status"
