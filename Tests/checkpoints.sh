#!/usr/bin/env bash
# A training is killed with signal 9 again and again while it writes checkpoints, and started again each time. It must
# always find a good one, never older than one interval; and end with the bits of a training that was never killed.
#
#   Tests/checkpoints.sh [KILLS [SUITE]]       200 by default; SUITE: multirank-suite, built in release mode by default
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-200} suite=${2:-} every=20 pause=1000
if [ -z "$suite" ]; then
  swift build -c release --product multirank-suite
  suite="$(swift build -c release --show-bin-path)/multirank-suite"
fi
# In memory: a disk that others keep busy would make an interval longer than it says.
folder=$(mktemp -d /dev/shm/checkpoints.XXXXXX)
job=
trap '[ -z "$job" ] || kill -9 "$job" 2>/dev/null; rm -rf "$folder"' EXIT
fail() { echo "checkpoints: $*" >&2; exit 1; }

# The number of steps taken, which the training leaves in a file of 8 bytes; 0 before the first.
progress() { if [ -s "$folder/run.progress" ]; then od -An -t d8 "$folder/run.progress" | tr -d ' '; else echo 0; fi; }

killed=0 writing=0 taken=0 oldest=0
while [ "$killed" -lt "$kills" ]; do
  # The job's shell empties the file too, but not before it is looked at.
  rm -f "$folder/out"
  "$suite" checkpoints "$folder/run" 1000000 "$every" "$pause" > "$folder/out" 2> "$folder/err" &
  job=$!
  # Once it trains, at any moment.
  for _ in $(seq 1000); do grep -qs '^from' "$folder/out" && break; kill -0 "$job" 2>/dev/null || break; sleep 0.01; done
  from=$(sed -n 's/^from //p' "$folder/out")
  [ -n "$from" ] || fail "no checkpoint was loaded after $killed kills: $(cat "$folder/err")"
  # What fell due before the kill was being written at most: the one before is there.
  least=$((taken / every * every - every))
  [ "$from" -ge "$least" ] || fail "killed after step $taken, but step $from was loaded"
  [ "$from" -le $((taken + 1)) ] || fail "killed after step $taken, but step $from was loaded"
  [ $((taken - from)) -le "$oldest" ] || oldest=$((taken - from))
  sleep "0.$(printf '%03d' $((RANDOM % 1000)))"
  kill -9 "$job" 2>/dev/null || fail "the training ended by itself: $(cat "$folder/err")"
  wait "$job" 2>/dev/null || true
  job=
  killed=$((killed + 1))
  taken=$(progress)
  if compgen -G "$folder/run/.step-*" > /dev/null; then writing=$((writing + 1)); fi
done

epochs=$((taken / 100 + 1))
whole=$("$suite" checkpoints "$folder/whole" "$epochs" 1000000 0 | sed -n 's/^hash //p')
resumed=$("$suite" checkpoints "$folder/run" "$epochs" "$every" 0 | sed -n 's/^hash //p')
[ -n "$whole" ] && [ "$whole" = "$resumed" ] || fail "after $epochs epochs the weights are $resumed, not $whole"
if compgen -G "$folder/run/.step-*" > /dev/null; then fail "half-written files are left"; fi
echo "checkpoints: $killed kills, $writing of them amid writing; at most $oldest steps lost of $every and those in" \
  "writing; after $taken steps the same bits as without"
