#!/usr/bin/env bash
# One rank calls something else than the others, in every way there is (operation, type, count, root, algorithm, memory, a
# call too few, a call too many), each rank in turn: all ranks must hear of it, and nobody may return with a wrong number.
# On one host, and, as root, over two hosts made of network namespaces: with --check everything, without it what is
# compared there always. Last, a rank that never comes at all, which ends the job with its name.
#
#   Tests/mismatches.sh [COUNT [SUITE]]     how many between hosts without --check, where each takes about a second: 100
#                                           by default. All of them with it, and on one host
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:-100} suite=${2:-}
if [ -z "$suite" ]; then
  swift build -c release --product multirank-suite
  suite="$(swift build -c release --show-bin-path)/multirank-suite"
fi
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export RINGTRAIN_TIMEOUT=30
for ranks in 2 3 4; do timeout 300 mpirun --oversubscribe -np "$ranks" "$suite" matrix all; done

if reason=$(Tests/multihost.sh check); then
  MULTIHOST=$(HOSTS=2 SLOTS=2 OWNER=$$ Tests/multihost.sh up)
  export MULTIHOST
  trap 'Tests/multihost.sh down' EXIT
  for ranks in 2 3 4; do
    layout=(--host node1:2,node2:2)
    if [ "$ranks" = 2 ]; then layout=(--host node1:1,node2:1); fi
    echo "between hosts, $ranks ranks, with --check and without"
    timeout 600 Tests/multihost.sh run "${layout[@]}" -np "$ranks" -x RINGTRAIN_CHECK=1 "$suite" matrix all
    timeout 600 Tests/multihost.sh run "${layout[@]}" -np "$ranks" "$suite" matrix "$count" 1 afar
  done
else
  echo "between hosts: skipped, $reason"
fi

# Whoever isn't there can't be compared: the deadline names it.
late=0
for how in allreduce ring native barrier receive; do
  for ranks in 2 3 4; do
    culprit=$((RANDOM % ranks)) code=0
    text=$(RINGTRAIN_TIMEOUT=1 timeout 30 mpirun --oversubscribe -np "$ranks" "$suite" stuck loop "$culprit" "$how" 2>&1) ||
      code=$?
    [ "$code" = 110 ] && grep -q "^  rank $culprit on .* is in its own code, after call 2, allreduce(sum)" <<< "$text" || {
      echo "mismatches: $how at $ranks ranks ended with code $code: $text" >&2
      exit 1
    }
    late=$((late + 1))
  done
done
echo "$late times a rank didn't come, and was named after 1 s"
