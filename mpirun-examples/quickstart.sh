#!/usr/bin/env bash
# Trains softmax regression on handwritten digits at 2 ranks. Installs what is missing.
# Arguments go to ringtrain train: --epochs 10 --save weights.safetensors, for example.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

setup
build ringtrain
mpirun --oversubscribe -np 2 "$program" train --data digits "$@"
