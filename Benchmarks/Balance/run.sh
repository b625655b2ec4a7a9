#!/usr/bin/env bash
# What --balance is worth where one of two ranks is slow: an MLP learns Fashion-MNIST while a busy loop takes half of rank
# 1's core, with --balance and without, in turns, and once more without the loop. Needs two cores. Steps are long, for a
# core that is shared changes hands every few milliseconds: to a rank with shorter ones it isn't half as fast, but away.
#   ROUNDS=5          how many turns; medians over them
#   EPOCHS=1  HIDDEN=1024,1024  BATCH=512
# Arguments go to `ringtrain train`.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds="${ROUNDS:-5}" epochs="${EPOCHS:-1}" hidden="${HIDDEN:-1024,1024}" batch="${BATCH:-512}"
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
swift build -c release --product ringtrain
program="$(swift build -c release --show-bin-path)/ringtrain"
lines="$(mktemp)"
loop=
trap '[ -z "$loop" ] || kill "$loop"; rm -f "$lines"' EXIT

# How it is called; "busy" or not; and more arguments.
train() {
  local name=$1 busy=$2
  shift 2
  if [ "$busy" = busy ]; then
    taskset -c 1 bash -c 'while :; do :; done' &
    loop=$!
  fi
  mpirun -np 2 --bind-to none bash -c 'exec taskset -c "$OMPI_COMM_WORLD_RANK" "$@"' - "$program" train \
    --data fashion-mnist --model mlp --hidden "$hidden" --batch "$batch" --epochs "$epochs" --log-level error --json "$@" |
    tail -n 1 | sed "s/^/$name /" >> "$lines"
  if [ -n "$loop" ]; then
    kill "$loop"
    wait "$loop" 2> /dev/null || true
    loop=
  fi
}

for ((round = 1; round <= rounds; round++)); do
  train plain busy "$@"
  train balanced busy --balance "$@"
  train undisturbed idle "$@"
done

# Fields of a line of JSON, and medians.
awk '
  function field(name) { return match($0, "\"" name "\":[^]\"a-z]+") ? \
    substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : "" }
  function median(key,  n, i, j, t, v) {
    n = count[key]
    for (i = 1; i <= n; i++) v[i] = value[key, i]
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2
  }
  {
    value[$1, ++count[$1]] = field("samples_per_second") + 0
    shares[$1] = field("samples_by_rank")
    gsub(/[^0-9,]/, "", shares[$1]); sub(/,$/, "", shares[$1])
    if ($1 == "balanced") ratio[++turns] = value[$1, turns] / value["plain", turns]
  }
  END {
    printf "%-12s %14s   %s\n", "", "samples/s", "samples of each rank, in all"
    split("plain balanced undisturbed", names, " ")
    for (i = 1; i <= 3; i++) printf "%-12s %14d   %s\n", names[i], median(names[i]), shares[names[i]]
    for (i = 1; i <= turns; i++) { value["ratio", i] = ratio[i]; count["ratio"]++ }
    printf "balanced ÷ plain: %.2f in the median of %d turns\n", median("ratio"), turns
  }' "$lines"
