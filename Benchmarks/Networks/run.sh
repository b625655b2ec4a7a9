#!/usr/bin/env bash
# Trains four networks with ours and, where it can be imported, with PyTorch's DistributedDataParallel over gloo, in
# turns, at 1 and 2 ranks; then an MLP over two hosts that 1 Gbit/s links join (root needed), against its computing alone
# and its exchange alone. Prints ratios; see Benchmarks/README.md.
#   PYTHON=path  a Python that can import torch
#   ROUNDS=3     how many turns; medians over them
#   SECONDS_EACH=3
set -euo pipefail
cd "$(dirname "$0")/../.."
swift build -c release --product network-benchmark
program="$(swift build -c release --show-bin-path)/network-benchmark"
python="${PYTHON:-python3}" rounds="${ROUNDS:-3}" seconds="${SECONDS_EACH:-3}"
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
lines="$(mktemp)"
trap 'rm -f "$lines"' EXIT
models=(mlp-1024 mlp-256 cnn lstm)

has_torch=
if "$python" -c 'import torch' 2>/dev/null; then has_torch=1; else echo "# $python can't import torch: ours alone"; fi
for ((round = 1; round <= rounds; round++)); do
  for model in "${models[@]}"; do
    for ranks in 1 2; do
      mpirun -np "$ranks" "$program" --models "$model" --seconds "$seconds" | sed 's/^/ours /' >> "$lines"
      [ -z "$has_torch" ] ||
        mpirun -np "$ranks" "$python" Benchmarks/Networks/peer.py "$seconds" "$model" | sed 's/^/torch /' >> "$lines"
    done
  done
done

# Fields of a line of JSON, and medians.
awk '
  function field(name) { return match($0, "\"" name "\": ?[\"0-9.a-z-]+") ? \
    unquoted(substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)) : "" }
  function unquoted(text) { gsub(/[" ]/, "", text); return text }
  function median(key,  n, i, j, t, v) {
    n = count[key]
    for (i = 1; i <= n; i++) v[i] = value[key, i]
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n ? (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2 : 0
  }
  { key = $1 " " field("model") " " field("ranks"); value[key, ++count[key]] = field("samples_per_second") }
  field("peak_mib") != "" { peak[field("model")] = field("peak_mib") }
  END {
    print "network    ranks   samples/s    PyTorch   ours ÷ PyTorch   2 ranks ÷ 1   peak MiB a rank"
    split("mlp-1024 mlp-256 cnn lstm", names, " ")
    for (i = 1; i <= 4; i++) for (ranks = 1; ranks <= 2; ranks++) {
      ours = median("ours " names[i] " " ranks); torch = median("torch " names[i] " " ranks)
      printf "%-9s %6d %11d %10s %16s %13s %17s\n", names[i], ranks, ours, torch ? int(torch) : "-", \
        torch ? sprintf("%.2f", ours / torch) : "-", \
        ranks == 2 ? sprintf("%.2f", ours / median("ours " names[i] " 1")) : "", ranks == 2 ? peak[names[i]] : ""
    }
  }' "$lines"

if ! obstacle="$(Tests/multihost.sh check 2>&1)"; then
  echo "# no several hosts here: $obstacle"
  exit
fi
MULTIHOST=$(HOSTS=2 RATE=1gbit OWNER=$$ Tests/multihost.sh up)
export MULTIHOST
trap 'Tests/multihost.sh down; rm -f "$lines"' EXIT
step() { sed -n 's/.*"step_ms":\([0-9.]*\).*/\1/p'; }
middle() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }
echo
echo "mlp-1024 over 2 hosts at 1 Gbit/s, ms a step:"
echo "batch a rank       wire    computing   exchange   overlapped   in turns   overlapped ÷ the longer"
for batch in 256 512; do
  for wire in full bfloat16; do
    for kind in computing exchange overlapped turns; do : > "$lines.$kind"; done
    for ((round = 1; round <= rounds; round++)); do
      # Both hosts compute, as they do when they exchange.
      Tests/multihost.sh run -np 2 "$program" --models mlp-1024 --batch "$batch" --seconds "$seconds" --alone |
        step >> "$lines.computing"
      Tests/multihost.sh run -np 2 "$program" --models mlp-1024 --seconds "$seconds" --wire "$wire" --exchange-only |
        step >> "$lines.exchange"
      Tests/multihost.sh run -np 2 "$program" --models mlp-1024 --batch "$batch" --seconds "$seconds" --wire "$wire" |
        step >> "$lines.overlapped"
      Tests/multihost.sh run -np 2 "$program" --models mlp-1024 --batch "$batch" --seconds "$seconds" --wire "$wire" \
        --overlap off | step >> "$lines.turns"
    done
    echo "$batch $wire $(middle < "$lines.computing") $(middle < "$lines.exchange") $(middle < "$lines.overlapped") \
$(middle < "$lines.turns")" | awk '{ longer = $3 > $4 ? $3 : $4
      printf "%12d %10s %12.1f %10.1f %12.1f %10.1f %17.2f\n", $1, $2, $3, $4, $5, $6, $5 / longer }'
    rm -f "$lines".*
  done
done
