#!/usr/bin/env bash
# Trains four networks on Fashion-MNIST, at 2 ranks, or as many as are given: an MLP, an LSTM that reads the rows of an
# image one by one, a CNN, and one that net.yaml describes. Each goes through the 60,000
# images ten times; the CNN takes a minute and a half on two cores. Then tests the saved weights of the last one.
set -euo pipefail
cd "$(dirname "$0")"
source ../setup.sh

setup dataset-fashion-mnist
build ringtrain
folder="$(mktemp -d)"
trap 'rm -r "$folder"' EXIT
ringtrain() { mpirun --oversubscribe -np "$ranks" "$program" "$@"; }
ranks="${1:-2}"

ringtrain train --data fashion-mnist --model mlp
ringtrain train --data fashion-mnist --model lstm
ringtrain train --data fashion-mnist --model cnn
ringtrain train --data fashion-mnist --model net.yaml --augment shift:1,flip --save "$folder/weights.safetensors"
ringtrain evaluate --data fashion-mnist --weights "$folder/weights.safetensors"
