#!/usr/bin/env bash
# Trains softmax regression on Fashion-MNIST, 60,000 images of 28 × 28, saves the weights, and tests them on 10,000
# others. At 2 ranks, or as many as are given. Installs what is missing, the data among it.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

setup dataset-fashion-mnist
build ringtrain
folder="$(mktemp -d)"
trap 'rm -r "$folder"' EXIT
weights="$folder/weights.safetensors"
mpirun --oversubscribe -np "${1:-2}" "$program" train --data fashion-mnist --save "$weights"
mpirun --oversubscribe -np "${1:-2}" "$program" evaluate --weights "$weights" --data fashion-mnist
