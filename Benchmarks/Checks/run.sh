#!/usr/bin/env bash
# What the checks that are always on cost an allreduce, at 2 ranks. Arguments go to check-overhead.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
swift build -c release --product check-overhead
exec mpirun -np "${RANKS:-2}" "$(swift build -c release --show-bin-path)/check-overhead" "$@"
