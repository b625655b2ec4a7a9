#!/usr/bin/env bash
# Builds the README's program that trains a network, and runs it at 2 ranks, or as many as are given.
set -euo pipefail
source "$(dirname "$0")/../setup.sh"

setup
build own-network
mpirun --oversubscribe -np "${1:-2}" "$program"
