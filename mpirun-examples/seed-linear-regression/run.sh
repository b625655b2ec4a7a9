#!/bin/sh
# Linear regression on 10,000 × 10 values, at most 100 iterations, tol 1e-3, one sample a step: first by RingTrain alone,
# at 1 and at 2 ranks, then next to scikit-learn's SGDRegressor where PYTHON (python3 unless set) can import that.
# The program is Benchmarks/SeedExample/SeedExample.swift.
set -eu
cd "$(dirname "$0")/../.."
swift build -c release --product seed-example
program="$(swift build -c release --show-bin-path)/seed-example"
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for ranks in 1 2; do
  echo "$ranks rank(s):"
  mpirun --oversubscribe -np $ranks "$program"
done
exec Benchmarks/SeedExample/run.sh
