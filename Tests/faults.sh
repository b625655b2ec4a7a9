#!/usr/bin/env bash
# Does something to a training on 2 hosts × 2 ranks, at a random moment: whatever it is, the training must finish with the
# bits of an undisturbed one, or end with a message that names the culprit, at most 5 s after the deadline, and leave no
# process anywhere.
#
#   Tests/faults.sh [FAULT …]       all of them by default:
#       kill stop                   one rank gets signal 9, or 19
#       abort exit loop throw memory    one rank aborts, exits with 0, goes on for ever, throws, or finds no memory
#       disk                        where the checkpoints are becomes full
#       cut flap loss slow          a host's link is cut, is cut twice for 2 s, or loses 1 %; a host at a tenth of its speed
#
#       MOMENTS=20                  how many each
#       SEED=1                      of the moments, and of which rank or host it is
#       DEADLINE=3                  RINGTRAIN_TIMEOUT of the training, in seconds
#       LAUNCH=1                    under `ringtrain launch`: the training must finish, with the bits of one that had the
#                                   same ranks at the same steps. LAUNCH=reproducible: those of any undisturbed one
#       BIN=FOLDER                  where multirank-suite and ringtrain are; built in release mode by default
#
# Prints a line for each run, and then a table. Needs what multihost.sh needs, and nft; exits with 77 where that isn't there.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
multihost() { "$here/Tests/multihost.sh" "$@"; }

# launch starts mpirun by this script, with the training in place of its own.
if [ "${1:-}" = mpirun ]; then
  options=()
  for argument in "${@:2}"; do
    [ "$argument" != "$RINGTRAIN_FAULTS_BIN/ringtrain" ] || break
    options+=("$argument")
  done
  read -ra training <<< "$RINGTRAIN_FAULTS_TRAINING"
  exec mpirun "${options[@]}" "${training[@]}"
fi

fail() { echo "faults.sh: $*" >&2; exit 1; }
moments=${MOMENTS:-20} deadline=${DEADLINE:-3} launch=${LAUNCH:-} bin=${BIN:-}
all=(kill stop abort exit loop throw memory disk cut flap loss slow)
faults=("${@:-${all[@]}}")
[ $# -gt 0 ] || faults=("${all[@]}")
for fault in "${faults[@]}"; do
  [[ " ${all[*]} " == *" $fault "* ]] || fail "no fault is named $fault"
done
# Steps of some 10 ms, 20 an epoch; a checkpoint every 25. The moments lie in the first two seconds.
epochs=20 every=25 span=2000
reproducible=
[ "$launch" != reproducible ] || reproducible=reproducible

reason=$(multihost check) || { echo "faults.sh: skipped: $reason"; exit 77; }
if [ -z "$bin" ]; then
  for product in multirank-suite ringtrain; do swift build -c release --product "$product" >&2; done
  bin=$(swift build -c release --show-bin-path)
fi
bin=$(realpath "$bin")

folder=$(mktemp -d /tmp/ringtrain-faults.XXXXXX)
export MULTIHOST=$folder/hosts
job=
finish() {
  [ -z "$job" ] || kill -9 "$job" 2> /dev/null || true
  multihost down 2> /dev/null || true
  umount "$folder/run/checkpoints" 2> /dev/null || true
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP
mkdir -p "$folder/run/checkpoints"
mount -t tmpfs -o size=16m tmpfs "$folder/run/checkpoints"
HOSTS=2 SLOTS=2 OWNER=$$ multihost up > /dev/null

# Seeded, and the same on every machine.
state=${SEED:-1}
echo "seed $state"
random() { state=$(((state * 1103515245 + 12345) & 0x7fffffff)); number=$(((state >> 8) % $1)); }

now() { echo "${EPOCHREALTIME/./}"; }
seconds() { printf '%d.%d' $(($1 / 1000000)) $(($1 % 1000000 / 100000)); }
# sleep, without a process.
exec {nothing}<> <(:)
nap() { read -rt "$1" -u "$nothing" || true; }

# Starts a training as $job: the fault that a rank does when told, the folder, how many checkpoints stay; and "launch", or
# more arguments for mpirun.
train() {
  local fault=$1 target=$2 keep=$3 program
  program="$bin/multirank-suite fault $target $fault $epochs $every $keep $reproducible"
  mkdir -p "$target"
  rm -f "$target"/rank-* "$target/out" "$target/err"
  export RINGTRAIN_TIMEOUT=$deadline
  if [ "$4" = launch ]; then
    RINGTRAIN_FAULTS_BIN=$bin RINGTRAIN_FAULTS_TRAINING=$program \
      multihost launch "$bin/ringtrain" launch --hostfile "$MULTIHOST/hostfile" --mpirun "$here/Tests/faults.sh mpirun" \
      -- train --checkpoint "$target/checkpoints" > "$target/out" 2> "$target/err" &
  else
    # Ranks of a job that has failed have nothing left to do.
    # shellcheck disable=SC2086
    multihost run -x RINGTRAIN_TIMEOUT --mca odls_base_sigkill_timeout 0 ${4:+$4} $program \
      > "$target/out" 2> "$target/err" &
  fi
  job=$!
}

# Waits for the job's end, at most so many seconds.
end() {
  local limit=$(($(now) + $1 * 1000000))
  while kill -0 "$job" 2> /dev/null; do
    if [ "$(now)" -gt "$limit" ]; then code=hangs; ended=$(now); return; fi
    nap 0.02
  done
  ended=$(now) code=0
  wait "$job" || code=$?
  job=
}

# Of the last attempt: a root that throws prints one, too.
hash() { sed -n 's/^hash //p' "$1/out" | tail -n 1; }

# What is left of the job on the hosts.
left() { multihost processes 1; multihost processes 2; }

# The bits that a training ends with that goes on from a step at two ranks on one host.
continued() {
  local step=$1 target=$folder/from-$1
  if [ ! -f "$target/hash" ]; then
    mkdir -p "$target/checkpoints"
    [ "$step" = 0 ] || cp "$folder/reference/checkpoints/step-$(printf %08d "$step").safetensors" "$target/checkpoints"
    train none "$target" 3 "-np 2 --host node1:2"
    end 60
    hash "$target" > "$target/hash"
  fi
  cat "$target/hash"
}

train none "$folder/reference" 1000 ""
end 120
reference=$(hash "$folder/reference")
[ "$code" = 0 ] && [ -n "$reference" ] || fail "the undisturbed training failed: $(cat "$folder/reference/err")"

declare -A runs right named latest strays
failures=0
run() {
  local fault=$1 rank host target=$folder/run pid begun told past found culprit verdict code ended gone stray
  local expected place
  random 4; rank=$number host=$((rank / 2 + 1))
  random $span; moment=$number
  rm -rf "$target/checkpoints"/*
  case $fault in abort | exit | loop | throw | memory) train "$fault" "$target" 3 "${launch:+launch}" ;;
    *) train none "$target" 3 "${launch:+launch}" ;;
  esac
  local limit=$(($(now) + 30000000))
  until [ -s "$target/rank-0" ] && [ -s "$target/rank-1" ] && [ -s "$target/rank-2" ] && [ -s "$target/rank-3" ]; do
    [ "$(now)" -lt "$limit" ] && kill -0 "$job" 2> /dev/null || fail "no training began: $(cat "$target/err")"
    nap 0.01
  done
  pid=$(cat "$target/rank-$rank")
  nap "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
  begun=$(now)
  local helper=
  case $fault in
    kill) kill -KILL "$pid" ;;
    stop) kill -STOP "$pid" ;;
    abort | exit | loop | throw | memory) kill -USR2 "$pid" ;;
    disk)
      cat /dev/zero > "$target/checkpoints/full" || true
      # It mustn't be full in the end where the training is to finish.
      if [ -n "$launch" ]; then { sleep 1; rm "$target/checkpoints/full"; } & helper=$!; fi
      ;;
    cut) multihost link $host down ;;
    flap) { for _ in 1 2; do multihost link $host down; sleep 2; multihost link $host up; sleep 2; done; } & helper=$! ;;
    loss) multihost loss $host 1 ;;
    slow) slow $host & helper=$! ;;
  esac 2> /dev/null || true
  end 120
  [ "$code" != hangs ] || left > "$folder/left"
  [ -z "$helper" ] || { [ "$fault" != slow ] || kill "$helper" 2> /dev/null || true; wait "$helper" 2> /dev/null || true; }

  # All that is left has until the deadline, or a second.
  limit=$((begun + (deadline + 5) * 1000000))
  [ "$limit" -gt $((ended + 1000000)) ] || limit=$((ended + 1000000))
  while stray=$(left) && [ -n "$stray" ] && [ "$(now)" -lt "$limit" ]; do nap 0.05; done
  gone=$(now)
  case $fault in cut) multihost link $host up ;; loss) multihost loss $host 0 ;; esac

  # Lines are put together again that mpirun breaks.
  told=$(tr '\n' ' ' < "$target/err")
  # shellcheck disable=SC2254
  case $fault in
    kill | abort | memory) culprit="rank $rank (with PID [0-9]+ )?on (node )?node$host (exited on signal|is gone|:)" ;;
    stop) culprit="rank $rank on node$host is stopped" ;;
    loop) culprit="rank $rank on node$host \(process $pid\) is in its own code" ;;
    throw) culprit="error: rank $rank on node$host: this rank is disturbed" ;;
    exit) culprit="rank $rank (with PID [0-9]+ )?on +(node )?node$host (exiting improperly|is gone|:)" ;;
    disk) culprit="can't be written: .*[Nn]o space left" ;;
    *) culprit="on node[12] doesn't answer|a link between node1, node2|remote daemon: .* on node node2|host=node2 why=" ;;
  esac
  found=no
  ! grep -Eqi "$culprit" <<< "$told" || found=yes

  # Wherever it went on with fewer ranks it has other bits, those of the same ranks at the same steps.
  expected=$reference
  if [ "$launch" = 1 ]; then
    place=$(sed -n 's/.* from="\{0,1\}\(step [0-9]*\|the beginning\).* hosts=node[12]:2 .*starts$/\1/p' "$target/err" | tail -1)
    [ -z "$place" ] || { place=${place//[^0-9]/}; expected=$(continued "${place:-0}"); }
  fi
  past=$(((gone > ended ? gone : ended) - begun - deadline * 1000000))
  [ $past -gt 0 ] || past=0
  verdict=FAILED
  if [ "$code" = hangs ]; then
    verdict=HANGS
  elif [ "$(hash "$target")" = "$expected" ] && [[ "$code" = 0 || "$fault$launch" = disk ]]; then
    verdict=right past=0
  elif [ "$code" != 0 ] && [ -z "$launch" ] && [ $found = yes ] && [ $past -le 5000000 ]; then
    verdict=named
  fi
  local count=0
  if [ -n "$stray" ]; then count=$(wc -l <<< "$stray") verdict="$verdict+STRAYS"; fi
  printf '%-7s rank %d on node%d after %4d ms: %-6s %4s s past the deadline, code %s, culprit named: %s\n' \
    "$fault" $rank $host $moment "$verdict" "$(seconds $past)" "$code" $found
  runs[$fault]=$((${runs[$fault]:-0} + 1)) strays[$fault]=$((${strays[$fault]:-0} + count))
  case $verdict in
    right*) right[$fault]=$((${right[$fault]:-0} + 1)) ;;
    named*) named[$fault]=$((${named[$fault]:-0} + 1)) ;;
  esac
  [ $past -le "${latest[$fault]:-0}" ] || latest[$fault]=$past
  case $verdict in
    right | named) ;;
    *)
      failures=$((failures + 1))
      { echo "--- left:"; echo "$stray"; cat "$folder/left" 2> /dev/null || true; echo "--- out:"; cat "$target/out"
        echo "--- err:"; cat "$target/err"; } | sed 's/^/    /'
      # Whatever is there still is not the next one's affair.
      multihost processes 1 | cut -d' ' -f1 | xargs -r kill -9 2> /dev/null || true
      multihost processes 2 | cut -d' ' -f1 | xargs -r kill -9 2> /dev/null || true
      job=
      ;;
  esac
}

# Has the ranks of a host run one millisecond of ten.
slow() {
  local ranks
  ranks="$(cat "$folder/run/rank-$((2 * $1 - 2))") $(cat "$folder/run/rank-$((2 * $1 - 1))")"
  # shellcheck disable=SC2064,SC2086
  trap "kill -CONT $ranks 2> /dev/null; exit" TERM
  # shellcheck disable=SC2086
  while kill -STOP $ranks 2> /dev/null; do
    nap 0.009
    kill -CONT $ranks 2> /dev/null || break
    nap 0.001
  done
  kill -CONT $ranks 2> /dev/null || true
}

for ((index = 0; index < moments; index++)); do
  for fault in "${faults[@]}"; do run "$fault"; done
done

echo
printf '%-8s %5s %15s %12s %28s %7s\n' fault runs "finished right" "ended named" "at most s past the deadline" strays
for fault in "${faults[@]}"; do
  printf '%-8s %5d %15d %12d %28s %7d\n' "$fault" "${runs[$fault]}" "${right[$fault]:-0}" "${named[$fault]:-0}" \
    "$(seconds "${latest[$fault]:-0}")" "${strays[$fault]:-0}"
done
[ $failures = 0 ] || fail "$failures runs failed"
