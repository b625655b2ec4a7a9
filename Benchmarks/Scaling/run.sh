#!/bin/bash
# Measures allreduce by size and training by ranks, fits the links, predicts, and draws plots; see Benchmarks/README.md.
# Results go to Benchmarks/Scaling/results, or where RESULTS says.
#   QUICK=1      small sizes and few repetitions, to see that it works
#   PYTHON=path  a Python that can import torch, mlx, or both, for comparison with gloo and MLX
#   HOSTFILE=f   also measures one rank on each of the first two hosts
#   LINKS="…"    links to predict for, separated by semicolons: name:latency in µs:GB/s (default: 1 Gbit/s)
set -euo pipefail
cd "$(dirname "$0")/../.."
results="${RESULTS:-Benchmarks/Scaling/results}"
quick="${QUICK:-}"
python="${PYTHON:-python3}"
links="${LINKS:-1 Gbit/s:50:0.1195}"

swift build -c release --product ringtrain
swift build -c release --product scaling-report
bin="$(swift build -c release --show-bin-path)"
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# The built-in rules are measured, whatever this user has tuned.
export RINGTRAIN_TUNING=
cores="$(nproc)"
mkdir -p "$results"
lines="$results/measurements.jsonl"
: > "$lines"

# run EXPERIMENT VARIANT RANKS [mpirun's options …] -- PROGRAM …: adds what the program prints, a JSON object a line.
run() {
  local experiment="$1" variant="$2" ranks="$3" options=()
  shift 3
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  [ "$ranks" -gt "$cores" ] && options+=(--oversubscribe)
  echo "$(date +%T) $experiment $variant, $ranks ranks" >&2
  mpirun -np "$ranks" "${options[@]}" "$@" | while IFS= read -r line; do
    printf '{"experiment":"%s","variant":"%s","cores":%d,"result":%s}\n' "$experiment" "$variant" "$cores" "$line"
  done >> "$lines"
}

if [ -n "$quick" ]; then largest=1M iterations=20 overLargest=64K overIterations=5 repeats=1 rows=20000 steps=20
else largest=64M iterations=200 overLargest=16M overIterations=20 repeats=3 rows=200000 steps=100
fi
declare -A names=([3]="recursive doubling" [4]="ring" [5]="segmented ring" [6]="Rabenseifner")

for ranks in 2 4; do
  size=(-e "$largest" -n "$iterations")
  [ "$ranks" -gt "$cores" ] && size=(-e "$overLargest" -n "$overIterations" -w 2)
  run sweep default "$ranks" -- "$bin/ringtrain" bench allreduce --json "${size[@]}" --buffers ordinary,shared
  # Each in a job of its own, together with ours, so that ratios are within a run.
  for forced in 3 4 5 6; do
    run sweep "forced $forced, ${names[$forced]}" "$ranks" --mca coll_tuned_use_dynamic_rules 1 \
      --mca coll_tuned_allreduce_algorithm "$forced" -- \
      "$bin/ringtrain" bench allreduce --json "${size[@]}" --algorithm automatic,native
  done
done
if [ -n "${HOSTFILE:-}" ]; then
  run sweep default 2 --hostfile "$HOSTFILE" --map-by ppr:1:node -- \
    "$bin/ringtrain" bench allreduce --json -e "$overLargest" -n "$overIterations" --buffers ordinary,shared
fi

for peer in gloo:torch mlx:mlx.core; do
  if "$python" -c "import ${peer#*:}" 2> /dev/null; then
    run sweep "${peer%:*}" 2 -- "$python" Benchmarks/Scaling/peers.py "${peer%:*}" "$largest" "$iterations"
  else
    echo "${peer%:*} is skipped: $python can't import ${peer#*:} (PYTHON=…)" >&2
  fi
done

for _ in $(seq "$repeats"); do
  for ranks in 1 2 4; do
    train=("$bin/ringtrain" train --json --log-level error --precision f64)
    for kind in strong weak; do
      share=1
      [ "$kind" = weak ] && share="$ranks"
      data=(--data "make-regression:n=$((rows * share)),features=50")
      run "$kind" gd "$ranks" -- "${train[@]}" "${data[@]}" --trainer gd --epochs "$steps"
      run "$kind" sgd "$ranks" -- "${train[@]}" "${data[@]}" --trainer sgd --epochs 5 --batch $((1024 * share))
    done
  done
done

arguments=()
while IFS= read -r link; do arguments+=(--link "$link"); done < <(tr ';' '\n' <<< "$links")
"$bin/scaling-report" "$lines" --output "$results" "${arguments[@]}"
if command -v gnuplot > /dev/null; then
  for script in "$results"/*.gp; do gnuplot "$script" > "${script%.gp}.svg"; done
else
  echo "no plots: gnuplot isn't installed (Debian: gnuplot-nox); the scripts are there" >&2
fi
echo "in $results: report.txt, report.json, measurements.jsonl, and the plots" >&2
