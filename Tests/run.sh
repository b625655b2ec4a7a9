#!/usr/bin/env bash
# Installs what the tests need, and runs them all. Arguments go to swift test: --filter LearningTests, for example.
set -euo pipefail
cd "$(dirname "$0")/.."
source mpirun-examples/setup.sh

setup dataset-fashion-mnist
setup_python || true
exec swift test "$@"
