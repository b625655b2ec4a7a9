#!/usr/bin/env bash
# Builds the program of the README and trains it, at 2 ranks, on a CSV file: Tests/fixtures/diabetes.csv, or the one
# that is given, whose last column is the target.
set -euo pipefail
source "$(dirname "$0")/../setup.sh"

setup
build own-data
mpirun --oversubscribe -np 2 "$program" "${1:-$repository/Tests/fixtures/diabetes.csv}"
