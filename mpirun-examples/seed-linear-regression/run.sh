#!/usr/bin/env bash
# Linear regression on 10,000 × 10 values, at most 100 iterations, tol 1e-3, one sample a step: first by RingTrain alone,
# at 1 and at 2 ranks, then next to scikit-learn's SGDRegressor, which is installed into .venv unless RINGTRAIN_PYTHON
# names a Python that has it. The program is Benchmarks/SeedExample/SeedExample.swift.
set -euo pipefail
source "$(dirname "$0")/../setup.sh"

setup
build seed-example
for ranks in 1 2; do
  echo "$ranks rank(s):"
  mpirun --oversubscribe -np $ranks "$program"
done
setup_python || exit 0
PYTHON="$RINGTRAIN_PYTHON" "$repository/Benchmarks/SeedExample/run.sh"
