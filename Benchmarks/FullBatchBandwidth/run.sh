#!/bin/sh
# Builds and runs the benchmark at 1 and 2 ranks. Arguments go to the program: --rows 500000 --json, for example.
set -eu
cd "$(dirname "$0")/../.."
swift build -c release --product full-batch-bandwidth
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for ranks in 1 2; do
  mpirun -np $ranks "$(swift build -c release --show-bin-path)/full-batch-bandwidth" "$@"
done
