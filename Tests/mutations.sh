#!/usr/bin/env bash
# Damaged files of every kind: checkpoints, safetensors, NPY, IDX, CSV, libsvm. No trap, and no memory that isn't filled.
#
#   Tests/mutations.sh [COUNT [SEED]]          100000 of each, and a seed by the clock, by default
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:-100000} seed=${2:-$(date +%s)}
swift build -c release --product multirank-suite
echo "seed $seed"
exec "$(swift build -c release --show-bin-path)/multirank-suite" mutations "$count" "$seed"
