#!/bin/sh
# Builds this package, which depends on RingTrain by path, and trains its model at 2 ranks (or as many as are given).
set -eu
cd "$(dirname "$0")"
swift build -c release
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun --oversubscribe -np "${1:-2}" "$(swift build -c release --show-bin-path)/own-model"
