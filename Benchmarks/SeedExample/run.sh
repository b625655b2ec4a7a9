#!/bin/sh
# Builds the example and compares it with scikit-learn, where PYTHON (python3 unless set) can import that.
# Arguments go to compare.py: --runs 20 --json, for example.
set -eu
cd "$(dirname "$0")/../.."
swift build -c release --product seed-example
program="$(swift build -c release --show-bin-path)/seed-example"
python="${PYTHON:-python3}"
# Settings meant for one kind of processor would hold the other side back.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
if "$python" -c 'import sklearn' 2>/dev/null; then
  exec "$python" Benchmarks/SeedExample/compare.py "$program" "$@"
fi
echo "$python can't import scikit-learn, so there is nothing to compare with (pip install scikit-learn; PYTHON=...)"
exec "$program"
