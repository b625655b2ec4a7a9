#!/usr/bin/env bash
# Damaged input of every kind: checkpoints, safetensors, NPY, IDX, CSV, libsvm, gzip, networks in YAML, tuning tables. No
# trap, no memory that isn't filled, and no error but those that say what is wrong. All cores at once.
#
#   Tests/mutations.sh [COUNT [SEED [PROGRAM]]]    100000 of each, a seed by the clock, and hostile-input built in release
#                                                  mode, by default
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:-100000} seed=${2:-$(date +%s)} program=${3:-}
if [ -z "$program" ]; then
  swift build -c release --product hostile-input
  program="$(swift build -c release --show-bin-path)/hostile-input"
fi
echo "seed $seed"
"$program" parsers | xargs -P "$(nproc)" -I{} "$program" mutations "$count" "$seed" {}
