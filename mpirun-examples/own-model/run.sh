#!/usr/bin/env bash
# Builds this package, which depends on RingTrain by path, and trains its model at 2 ranks (or as many as are given).
set -euo pipefail
cd "$(dirname "$0")"
source ../setup.sh

setup
swift build -c release
mpirun --oversubscribe -np "${1:-2}" "$(swift build -c release --show-bin-path)/own-model"
